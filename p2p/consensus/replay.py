"""The log of one height: what was fed to the machine, in order. Law: replay equals run; validity and timeliness are logged,
not judged again."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.codec import decode, encode
from p2p.consensus import wire
from p2p.consensus.events import Timeout
from p2p.consensus.machine import Machine
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote
from p2p.consensus.round import CastVote, Decide, Effect, ScheduleTimeout, TimeoutKind


@dataclass(slots=True)
class Replayed:
    """wanted, signed: by (round, step), step as in the guard. own: our own messages. timers: of the round we are in."""

    wanted: dict[tuple[int, int], CastVote] = field(default_factory=dict)
    signed: dict[tuple[int, int], bytes] = field(default_factory=dict)
    own: dict[tuple[int, int], SignedVote | SignedProposal] = field(default_factory=dict)
    timers: list[ScheduleTimeout] = field(default_factory=list)
    decision: Decide | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A message and what was found when it came. valid: its block is right. timely: the clock agreed with a proposal. Both are logged:
    the first is dear, the second cannot be judged again."""

    message: wire.Wire
    valid: bool = True
    timely: bool = True


Logged = Timeout | Judged


def entry(logged: Logged) -> bytes:
    """Bytes of one input: a timer that fired, or a message and its verdicts."""
    if isinstance(logged, Timeout):
        return encode(["t", int(logged.kind), logged.round])
    return encode(["m", logged.valid, logged.timely, wire.pack(logged.message, 0)])


def place(message: SignedVote | SignedProposal) -> tuple[int, int]:
    """(round, step) of an own message, step as in the guard. An echo of it has the same place, so it is kept once."""
    if isinstance(message, SignedVote):
        return message.vote.round, int(message.vote.type)
    return message.proposal.round, 0


def feed(machine: Machine, judged: Judged) -> list[Effect]:
    """One message into the machine."""
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
    """Feed the whole log to a new machine."""
    found = Replayed()
    if logged:
        _note(machine.start(), found)
    for raw in logged:
        plain = decode(raw)
        if plain[0] == "t":
            _note(machine.on_timeout(TimeoutKind(plain[1]), plain[2]), found)
            continue
        judged = Judged(wire.parse(plain[3]), plain[1], plain[2])
        message = judged.message
        if isinstance(message, SignedVote) and message.vote.validator == me:
            found.signed[message.vote.round, int(message.vote.type)] = encode(message.vote)
            found.own[place(message)] = message
        elif isinstance(message, SignedProposal) and message.proposal.proposer == me:
            found.signed[message.proposal.round, 0] = encode(message.proposal)
            found.own[place(message)] = message
        _note(feed(machine, judged), found)
    found.timers = [timer for timer in found.timers if timer.round == machine.round]
    return found


def _note(effects: list[Effect], found: Replayed) -> None:
    for effect in effects:
        if isinstance(effect, CastVote):
            found.wanted[effect.round, int(effect.type)] = effect
        elif isinstance(effect, ScheduleTimeout):
            found.timers.append(effect)
        elif isinstance(effect, Decide):
            found.decision = effect
