"""What becomes of a message, before the core sees it. Law: accept, ignore or reject, in that order of cost: shape, height, whose it is, whether
anybody could use it, whether it passed lately; then its signatures.

REJECT is for what is wrong to everybody who looks, so no honest forwarder is ever blamed for what another height knows. IGNORE is for
what cannot be judged here and for what is no news: it goes no further, is not remembered, and costs nobody anything.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import NetworkId
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.evidence import MAX_EVIDENCE_AGE, accused, proves
from p2p.consensus.machine import Machine
from p2p.consensus.message_checks import is_of, is_right
from p2p.consensus.messages import SignedProposal, SignedVote
from p2p.consensus.seen import Seen
from p2p.consensus.validators import ValidatorSet

if TYPE_CHECKING:
    from p2p.consensus.driver import Driver

Heard = tuple[Outcome, wire.Wire | None]
IGNORED: Heard = Outcome.IGNORE, None
REJECTED: Heard = Outcome.REJECT, None


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a height: its set, and its machine unless it is still to come."""

    members: ValidatorSet
    machine: Machine | None


class Inbox:
    """One driver's. It looks and never changes the core; what passes is remembered for a while (seen.py)."""

    def __init__(self, driver: Driver, network: NetworkId) -> None:
        self._driver, self._network = driver, network
        self._seen = Seen(driver.timing.forward_again_ms)

    def place(self, height: int) -> Place | None:
        """None: of that height nothing can be judged here; it is over, or sync brings it."""
        driver = self._driver
        if height == driver.height:
            return Place(driver.validators, driver.machine)
        if height == driver.height + 1:
            return Place(driver.next_validators, None)
        before = driver.before
        return Place(before.validators, before) if before is not None and height == driver.height - 1 else None

    def judge(self, data: bytes, *, whole: bool = True) -> Heard:
        """(what becomes of it, message to take or None). whole: proposals come with their transactions, as between simulated peers."""
        try:
            message = wire.parse(data)
        except RemoteProtocolError:
            return REJECTED
        if isinstance(message, wire.EvidenceNote):
            return self._judge_evidence(message)
        if isinstance(message, SignedProposal) and not whole:
            return REJECTED
        place = self.place(wire.height_of(message))
        if place is None:
            return IGNORED
        if not is_of(message, self._network, place.members):
            return REJECTED
        machine, content = place.machine, wire.content(message)
        news = machine.is_news(message) if machine is not None else self._driver.early.wants(message)
        if not news and not (machine is not None and holds(machine, message)):
            return IGNORED
        if not self.may_pass(content):
            return IGNORED
        if not is_right(message, self._network, place.members, machine.votes if machine is not None else None):
            return REJECTED
        self.passed(content)
        return Outcome.ACCEPT, message if news else None

    def may_pass(self, content: Hashable) -> bool:
        return not self._seen.is_fresh(content, self._driver.clock())

    def passed(self, content: Hashable) -> None:
        """It was found right and goes on. Never said before that: else a forgery would stand in the way of the true one."""
        self._seen.passed(content, self._driver.clock())

    def _judge_evidence(self, note: wire.EvidenceNote) -> Heard:
        driver, about = self._driver, accused(note.evidence)
        if about is None:
            return REJECTED
        who, height = about
        top = max(driver.height, note.height)
        if not driver.height - 2 <= note.height <= driver.height + 2 or not top - MAX_EVIDENCE_AGE < height <= top:
            return IGNORED
        if who not in driver.validators or driver.is_punished(who) or not self.may_pass(wire.content(note)):
            return IGNORED  # others may know another set
        if not proves(note.evidence, self._network):
            return REJECTED
        self.passed(wire.content(note))
        return Outcome.ACCEPT, note


def holds(machine: Machine, message: wire.Wire) -> bool:
    """Whether the machine has it already, so that a repeat of it may still be news to somebody else."""
    if isinstance(message, SignedVote):
        return machine.votes.knows(message)
    if isinstance(message, SignedProposal):
        return any(one.proposal == message.proposal for one in machine.proposals.get(message.proposal.round, []))
    return True  # certificates: nothing in it is new, so all of it is here
