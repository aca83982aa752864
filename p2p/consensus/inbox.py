"""What becomes of a message before the driver takes it. Law: accept, ignore or reject; cheap checks before signatures.

The checks run in the order of their cost: shape, height, sender, use to anybody, passed on lately, signatures. REJECT
is for what is wrong for every peer that looks, so no honest forwarder is blamed for what a peer at another height
knows. IGNORE is for what cannot be judged here and for what is no news: it is not passed on and not remembered, and
costs nobody points.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import NetworkId
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.evidence import MAX_EVIDENCE_AGE, accused, proves
from p2p.consensus.machine import Machine
from p2p.consensus.message_checks import is_right, may_be_right
from p2p.consensus.messages import SignedProposal, SignedVote
from p2p.consensus.next_height_buffer import NextHeightBuffer
from p2p.consensus.pacing import Pacing
from p2p.consensus.seen import Seen
from p2p.consensus.validators import ValidatorSet

Judgement = tuple[Outcome, wire.Wire | None]  # and the message to take, if any
IGNORED: Judgement = Outcome.IGNORE, None
REJECTED: Judgement = Outcome.REJECT, None
NOTE_HEIGHTS = 2  # a note of evidence counts when its sender is at most so many heights from ours


@dataclass(frozen=True, slots=True)
class HeightView:
    """What a peer knows of a height whose messages it can judge."""

    members: ValidatorSet
    machine: Machine | None  # None: the height is still to come


class DriverView(Protocol):
    """What an inbox reads of its driver (driver.py)."""

    pace: Pacing
    clock: Callable[[], int]
    height: int
    validators: ValidatorSet
    next_validators: ValidatorSet
    machine: Machine
    next_height: NextHeightBuffer
    previous: Machine | None

    def is_punished(self, who: bytes) -> bool: ...


class Inbox:
    """The inbox of one driver. It reads the driver and never changes it; what passed lately is remembered (seen.py)."""

    def __init__(self, driver: DriverView, network: NetworkId) -> None:
        self._driver, self._network = driver, network
        self._seen = Seen(driver.pace.now.forward_again_ms)

    def view(self, height: int) -> HeightView | None:
        """None: messages of that height cannot be judged here. The height is over, or sync will bring it."""
        driver = self._driver
        if height == driver.height:
            return HeightView(driver.validators, driver.machine)
        if height == driver.height + 1:
            return HeightView(driver.next_validators, None)
        if height == driver.height - 1 and driver.previous is not None:
            return HeightView(driver.previous.validators, driver.previous)
        return None

    def judge_vote(self, message: wire.Wire) -> Judgement:
        """A message from the exchange of votes. A proposal travels compact, on a topic of its own (bodies.py), so one
        here is wrong for everybody."""
        return REJECTED if isinstance(message, SignedProposal) else self._judge(message)

    def judge(self, data: bytes) -> Judgement:
        """Bytes of any message; proposals come whole, with their transactions, as between simulated peers."""
        message = _parse(data)
        return REJECTED if message is None else self._judge(message)

    def _judge(self, message: wire.Wire) -> Judgement:
        if isinstance(message, wire.EvidenceNote):
            return self._judge_evidence(message)
        view = self.view(wire.height_of(message))
        if view is None:
            return IGNORED
        if not may_be_right(message, self._network, view.members):
            return REJECTED
        machine, content = view.machine, wire.content(message)
        news = machine.is_news(message) if machine is not None else self._driver.next_height.wants(message)
        if not news and not (machine is not None and holds(machine, message)):
            return IGNORED
        if not self.may_pass(content):
            return IGNORED
        if not is_right(message, self._network, view.members, machine.votes if machine is not None else None):
            return REJECTED
        self.passed(content)
        return Outcome.ACCEPT, message if news else None

    def may_pass(self, content: Hashable) -> bool:
        return not self._seen.is_fresh(content, self._driver.clock())

    def passed(self, content: Hashable) -> None:
        """Remember a content that was found right. Call it only then: else a forgery would keep out the true
        message."""
        self._seen.passed(content, self._driver.clock())

    def _judge_evidence(self, note: wire.EvidenceNote) -> Judgement:
        driver, about = self._driver, accused(note.evidence)
        if about is None:
            return REJECTED
        who, height = about
        top = max(driver.height, note.height)
        if abs(note.height - driver.height) > NOTE_HEIGHTS or not top - MAX_EVIDENCE_AGE < height <= top:
            return IGNORED
        if who not in driver.validators or driver.is_punished(who) or not self.may_pass(wire.content(note)):
            return IGNORED  # peers at other heights have other sets
        if not proves(note.evidence, self._network):
            return REJECTED
        self.passed(wire.content(note))
        return Outcome.ACCEPT, note


def _parse(data: bytes) -> wire.Wire | None:
    try:
        return wire.parse(data)
    except RemoteProtocolError:
        return None


def holds(machine: Machine, message: wire.Wire) -> bool:
    """Whether the machine has a message already. A repeat of it may still be news to others."""
    if isinstance(message, SignedVote):
        return machine.votes.is_verified(message)
    if isinstance(message, SignedProposal):
        return any(one.proposal == message.proposal for one in machine.proposals.get(message.proposal.round, []))
    return True  # a certificate of which nothing is news: all of it is here
