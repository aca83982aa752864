"""What goes into the driver and what comes out. Law: plain values; whoever runs the driver carries outputs out in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.consensus import wire
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.round import Propose, TimeoutKind


@dataclass(frozen=True, slots=True)
class Timeout:
    kind: TimeoutKind
    height: int
    round: int


@dataclass(frozen=True, slots=True)
class StartHeight:
    """The wait after a decision is over; patient: also the longer wait of a height with nothing to decide."""

    height: int
    patient: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """Gossip loses messages: time to say again what matters."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Transactions arrived: an empty height need not wait any longer."""


@dataclass(frozen=True, slots=True)
class Due:
    """The wait of a proposer until its clock is past the last block's time is over."""

    height: int
    propose: Propose


@dataclass(frozen=True, slots=True)
class Heard:
    """A proposal, and when it arrived by our clock: not when its body was complete, nor when the queue came to it (rule Y)."""

    proposal: SignedProposal
    at_ms: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A decided block from sync."""

    block: Block
    certificate: CommitCertificate


@dataclass(frozen=True, slots=True)
class Reload:
    """Let `install` move the application elsewhere (a snapshot), then go on from there. It runs between two inputs, never amid one."""

    install: Callable[[], None]


Input = Timeout | StartHeight | Repeat | Wake | Due | Heard | Commit | Reload | wire.Wire


@dataclass(frozen=True, slots=True)
class Broadcast:
    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give `event` back after delay_ms."""

    delay_ms: int
    event: Timeout | StartHeight | Repeat | Due


@dataclass(frozen=True, slots=True)
class Committed:
    block: Block
    certificate: CommitCertificate


Output = Broadcast | SetTimer | Committed
