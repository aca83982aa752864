"""What goes into the driver and what comes out. Law: plain values; whoever runs the driver carries outputs out in
order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.consensus import wire
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.round import Propose, TimeoutKind

# -- in -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeout:
    """A timer of the rules ends."""

    kind: TimeoutKind
    height: int
    round: int


@dataclass(frozen=True, slots=True)
class StartHeight:
    """The wait after a decision is over."""

    height: int
    even_if_empty: bool  # start also when no transaction is waiting: the longer wait is over too


@dataclass(frozen=True, slots=True)
class Rebroadcast:
    """Gossip loses messages: time to repeat what matters (rule R)."""


@dataclass(frozen=True, slots=True)
class TransactionsArrived:
    """An empty height need not wait any longer."""


@dataclass(frozen=True, slots=True)
class ProposeNow:
    """A proposer's wait is over: its clock is past the last block's time."""

    height: int
    propose: Propose


@dataclass(frozen=True, slots=True)
class ProposalArrived:
    """A whole proposal, and when its first bytes arrived by our clock: not when its body was complete, nor when the
    queue came to it (rule Y)."""

    proposal: SignedProposal
    at_ms: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A decided block from sync."""

    block: Block
    certificate: CommitCertificate


@dataclass(frozen=True, slots=True)
class Reload:
    """Let `install` replace the application's state by a snapshot, then continue from there. It runs between two
    inputs, never within one."""

    install: Callable[[], None]


Input = (
    Timeout | StartHeight | Rebroadcast | TransactionsArrived | ProposeNow | ProposalArrived | Commit | Reload
    | wire.Wire
)

# -- out ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send `data` to all peers."""

    topic: str  # "proposals" or "votes"
    data: bytes  # packed by wire.pack; a proposal is whole


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Take `event` after delay_ms."""

    delay_ms: int
    event: Timeout | StartHeight | Rebroadcast | ProposeNow


@dataclass(frozen=True, slots=True)
class Committed:
    """A block is decided and durable."""

    block: Block
    certificate: CommitCertificate


Output = Broadcast | SetTimer | Committed
