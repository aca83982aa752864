"""The log of one height: every input of the machine, in order. Law: replaying the log gives the state that the run had.

Whether a block is valid and whether a proposal was timely are logged with the proposal. The first is expensive to find
out again; the second cannot be found out again, because nobody can look at that moment's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.codec import decode, encode
from p2p.consensus import wire
from p2p.consensus.events import Timeout
from p2p.consensus.machine import Machine
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote
from p2p.consensus.round import CastVote, Decide, Effect, ScheduleTimeout, TimeoutKind

Slot = tuple[int, int]  # (round, step), step as in GuardRecord: one signature at most is made for each
Signed = SignedVote | SignedProposal
PROPOSAL_STEP = 0  # prevote and precommit have the numbers of VoteType


@dataclass(slots=True)
class Replayed:
    """What a log led to."""

    begun: bool = False  # whether anything of the height was logged
    wanted: dict[Slot, CastVote] = field(default_factory=dict)  # votes that the machine wants to cast
    own: dict[Slot, Signed] = field(default_factory=dict)  # messages that this peer signed
    timers: list[ScheduleTimeout] = field(default_factory=list)  # timers of the round that the machine is in
    decision: Decide | None = None

    def unsigned(self) -> list[CastVote]:
        """Votes that the crash cut off between deciding to cast and signing."""
        return [vote for slot, vote in sorted(self.wanted.items()) if slot not in self.own]


@dataclass(frozen=True, slots=True)
class Judged:
    """A message, and what was found out about it when it arrived."""

    message: wire.Wire
    valid: bool = True  # of a proposal: its block is valid, a fact that stays
    timely: bool = True  # of a proposal: our clock agreed with its date (rule Y)


Logged = Timeout | Judged


def entry(logged: Logged) -> bytes:
    """The bytes of one input in the log: a timer that fired, or a message with what was found out about it."""
    if isinstance(logged, Timeout):
        return encode(["t", int(logged.kind), logged.round])
    return encode(["m", logged.valid, logged.timely, wire.pack(logged.message, 0)])


def slot_of(message: Signed) -> Slot:
    """The slot that a message is signed for. A repeat of it has the same slot, so it is kept once."""
    if isinstance(message, SignedVote):
        return message.vote.round, int(message.vote.type)
    return message.proposal.round, PROPOSAL_STEP


def sign_bytes(message: Signed) -> bytes:
    """The canonical bytes that its signature is over."""
    return encode(message.vote if isinstance(message, SignedVote) else message.proposal)


def feed(machine: Machine, judged: Judged) -> list[Effect]:
    """Give one message to the machine."""
    message = judged.message
    if isinstance(message, SignedVote):
        return machine.on_vote(message)
    if isinstance(message, SignedProposal):
        effects = machine.on_certificate(message.polka.votes) if message.polka else []
        return effects + machine.on_proposal(message, judged.valid, judged.timely)
    if isinstance(message, PolkaCertificate):
        return machine.on_certificate(message.votes)
    return machine.on_round_certificate(message.votes) if isinstance(message, RoundCertificate) else []


def run(machine: Machine, logged: list[bytes], me: bytes) -> Replayed:
    """Feed a whole log to a new machine. me: the public key whose messages are our own."""
    found = Replayed(begun=bool(logged))
    if logged:
        _collect(machine.start(), found)
    for raw in logged:
        plain = decode(raw)
        if plain[0] == "t":
            _collect(machine.on_timeout(TimeoutKind(plain[1]), plain[2]), found)
            continue
        judged = Judged(wire.parse(plain[3]), plain[1], plain[2])
        message = judged.message
        if isinstance(message, SignedVote | SignedProposal) and _author(message) == me:
            found.own[slot_of(message)] = message
        _collect(feed(machine, judged), found)
    found.timers = [timer for timer in found.timers if timer.round == machine.round]
    return found


def _author(message: Signed) -> bytes:
    return message.vote.validator if isinstance(message, SignedVote) else message.proposal.proposer


def _collect(effects: list[Effect], found: Replayed) -> None:
    for effect in effects:
        if isinstance(effect, CastVote):
            found.wanted[effect.round, int(effect.type)] = effect
        elif isinstance(effect, ScheduleTimeout):
            found.timers.append(effect)
        elif isinstance(effect, Decide):
            found.decision = effect
