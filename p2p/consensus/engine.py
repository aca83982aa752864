"""The shell around the round machine: timers, signatures, publishing, persistence. Law: durable before any signature leaves.

One task owns the machine; everything else puts inputs into one bounded queue. A write error halts the peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from p2p.codec import decode, encode
from p2p.consensus import wire
from p2p.consensus.application import Application
from p2p.consensus.certificates import commit_certificate, verify_commit, votes_of
from p2p.consensus.evidence import DuplicateVote, duplicate_proposal
from p2p.consensus.guard import GuardLog, GuardRecord, may_sign
from p2p.consensus.header import check_block, make_block
from p2p.consensus.machine import CastVote, Decide, Effect, Machine, Propose, SetTimer, Step, TimeoutKind
from p2p.consensus.messages import (
    Block,
    CommitCertificate,
    PolkaCertificate,
    Proposal,
    RoundCertificate,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.consensus.validators import ValidatorSet, dump_priorities, increment, load_priorities, proposer
from p2p.errors import RemoteProtocolError
from p2p.keys import Domain, Key

log = structlog.get_logger()

QUEUE = 4096
MAX_EVIDENCE = 256  # pieces kept until a block of ours carries them
EARLY = 512  # messages of height + 1 kept until we are there


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds. The two intervals are delays AFTER a decision: with transactions waiting, and without."""

    propose_ms: int = 1500
    vote_ms: int = 600
    delta_ms: int = 400
    block_interval_ms: int = 300
    empty_block_interval_ms: int = 1000
    rebroadcast_ms: int = 1000

    def timeout_s(self, kind: TimeoutKind, round_: int) -> float:
        base = self.propose_ms if kind is TimeoutKind.PROPOSE else self.vote_ms
        return (base + self.delta_ms * round_) / 1000


@dataclass(frozen=True, slots=True)
class _Timeout:
    kind: TimeoutKind
    height: int
    round: int


@dataclass(frozen=True, slots=True)
class _Commit:
    block: Block
    certificate: CommitCertificate
    done: trio.Event


class Engine:
    """deliver() and inject_commit() feed it, run() owns it."""

    def __init__(
        self, *, key: Key, network: str, app: Application, guard: GuardLog, publish: Callable[[str, bytes], Awaitable[None]],
        timing: Timing, clock: Callable[[], int], on_commit: Callable[[Block, CommitCertificate], None] = lambda b, c: None,
        has_txs: Callable[[], bool] = lambda: False,
    ) -> None:
        self._key, self._network, self._app, self._guard = key, network, app, guard
        self._publish, self._timing, self._clock = publish, timing, clock
        self._on_commit, self._has_txs = on_commit, has_txs
        self._send, self._receive = trio.open_memory_channel[Any](QUEUE)
        self._early: dict[bytes, wire.Wire] = {}
        self._wake = trio.Event()
        self._retry = self._clock() & 0x7FFFFFFF  # another start is another counter: repeats pass gossip's filter
        self._unlogged: list[bytes] = []
        self._evidence: dict[bytes, None] = {}
        self._own: list[wire.Wire] = []
        self._halted_until = 0  # observe only up to this height (replay did not reach the guard)
        self._new_height()

    def _new_height(self) -> None:
        app = self._app
        self._height = app.height() + 1
        self._validators = ValidatorSet.of(app.validators())
        self._priorities = load_priorities(app.priorities(), self._validators)
        self._machine = Machine(
            self._key.public, self._validators, lambda r: proposer(self._validators, self._priorities, r)
        )
        self._own = []
        self._unlogged = []

    # -- ways in --------------------------------------------------------------------------------------------------

    def deliver(self, from_peer: str, topic: str, data: bytes) -> bool:
        """A gossip message: False when it is invalid. Order of checks: shape, height, validator, slot, signature."""
        del from_peer, topic
        try:
            message = wire.parse(data)
        except RemoteProtocolError:
            return False
        height = wire.height_of(message)
        if height < self._height or height > self._height + 1:
            return True  # old, or so far ahead that sync brings it
        if not self._is_right(message):
            return False
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            log.warning("consensus queue is full; a message was dropped and will be repeated")
        return True

    def _is_right(self, message: wire.Wire) -> bool:
        if isinstance(message, SignedVote):
            vote = message.vote
            if vote.network != self._network or vote.validator not in self._validators:
                return False
            if vote.height == self._height and self._machine.votes.has(vote.validator, vote.round, vote.type):
                known = self._machine.votes.votes(vote.round, vote.type)
                if any(k.vote == vote for k in known):
                    return True  # verified before
            return message.verify()
        if isinstance(message, SignedProposal):
            p = message.proposal
            header = message.block.header
            return (
                p.network == self._network and p.proposer in self._validators and message.block.block_id == p.block_id
                and header.height == p.height and (header.round == p.round if p.pol_round < 0 else header.round <= p.pol_round < p.round)
                and message.verify()
                and (message.polka is None or votes_of(message.polka, self._network, self._validators) is not None)
            )
        return votes_of(message, self._network, self._validators) is not None

    async def inject_commit(self, block: Block, certificate: CommitCertificate) -> bool:
        """A decided block from sync. True when it is (or was already) ours."""
        if certificate.height != self._app.height() + 1:
            return certificate.height <= self._app.height()
        done = trio.Event()
        await self._send.send(_Commit(block, certificate, done))
        with trio.move_on_after(10):
            await done.wait()
        return self._app.height() >= certificate.height

    def wake(self) -> None:
        """Transactions arrived: an empty height need not wait any longer."""
        self._wake.set()

    def status(self) -> dict[str, Any]:
        m = self._machine
        return {
            "height": self._height, "round": m.round, "step": m.step.name.lower(), "validator": self._key.public in self._validators,
            "proposer": m.proposer_of(m.round).hex(), "evidence": len(self._evidence), "observing": self._observing(),
        }

    # -- the loop -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises StorageError when nothing can be written any more."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._repeat)
            await self._replay()
            nursery.start_soon(self._pace, self._height)
            async for item in self._receive:
                await self._take(item)

    async def _take(self, item: Any) -> None:
        if isinstance(item, _Timeout):
            if item.height == self._height:
                self._unlogged.append(encode(["t", int(item.kind), item.round]))
                await self._act(self._machine.on_timeout(item.kind, item.round))
        elif isinstance(item, _Commit):
            await self._take_commit(item)
        elif isinstance(item, int):
            if item == self._height:
                await self._act(self._machine.start())
        else:
            await self._take_message(item)

    async def _take_message(self, message: wire.Wire) -> None:
        height = wire.height_of(message)
        if height == self._height + 1 and len(self._early) < EARLY:
            self._early[encode(message)] = message
        if height != self._height:
            return
        if self._machine.step is Step.NEW:
            await self._act(self._machine.start())  # others are on: no reason to wait longer
        self._unlogged.append(wire.pack(message, 0))
        await self._act(self._feed(message))

    def _feed(self, message: wire.Wire) -> list[Effect]:
        """One message into the machine; certificates vote by vote, but only when all of them were right."""
        machine = self._machine
        if isinstance(message, SignedVote):
            return machine.on_vote(message)
        if isinstance(message, SignedProposal):
            effects = [e for v in (message.polka.votes if message.polka else ()) for e in machine.on_vote(v)]
            return effects + machine.on_proposal(message, self._is_valid(message))
        return [e for vote in message.votes for e in machine.on_vote(vote)]

    def _is_valid(self, signed: SignedProposal) -> bool:
        block = signed.block
        known = self._machine.validity.get(block.block_id)
        if known is not None:
            return known
        maker = self._machine.proposer_of(block.header.round)
        wrong = check_block(self._app, self._network, block, maker, self._clock())
        if wrong:
            log.warning("proposal refused", height=self._height, reason=wrong)
        return wrong is None

    async def _act(self, effects: list[Effect]) -> None:
        """Carry out effects; what we sign comes back to us as an input at once."""
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            if isinstance(effect, SetTimer):
                self._nursery.start_soon(self._timer, _Timeout(effect.kind, self._height, effect.round))
            elif isinstance(effect, Decide):
                await self._decide(effect)
                return
            else:
                message = self._sign(effect)
                if message is not None:
                    self._own.append(message)
                    todo += self._feed(message)
                    await self._say(message)

    def _sign(self, effect: Propose | CastVote) -> SignedVote | SignedProposal | None:
        """Sign, log and guard in one durable write; None when this peer may not sign here."""
        if self._key.public not in self._validators or self._observing():
            return None
        message = self._proposal(effect) if isinstance(effect, Propose) else self._vote(effect)
        if message is None:
            return None
        body = encode(message.vote if isinstance(message, SignedVote) else message.proposal)
        step = 0 if isinstance(message, SignedProposal) else int(message.vote.type)
        guard = GuardRecord(self._height, effect.round, step, body)
        if not may_sign(self._guard.load(), guard):
            log.warning("the guard forbids this signature", height=self._height, round=effect.round, step=step)
            return None
        self._guard.record(self._height, [*self._unlogged, wire.pack(message, 0)], guard)
        self._unlogged = []
        return message

    def _vote(self, cast: CastVote) -> SignedVote:
        vote = Vote(self._network, cast.type, self._height, cast.round, cast.block_id, cast.valid_round, self._key.public)
        return sign_vote(self._key, vote)

    def _proposal(self, propose: Propose) -> SignedProposal | None:
        polka = None
        if propose.block_id is None:
            block = make_block(self._app, self._key, self._network, propose.round, self._clock(), tuple(self._evidence)[:32])
        else:
            found = [p.block for p in self._machine.proposals.values() if p.proposal.block_id == propose.block_id]
            if not found:
                return None
            votes = self._machine.votes.votes(propose.valid_round, VoteType.PREVOTE)
            for_it = tuple(v for v in votes if v.vote.block_id == propose.block_id)
            block, polka = found[0], PolkaCertificate(self._height, propose.valid_round, propose.block_id, for_it)
        body = Proposal(self._network, self._height, propose.round, block.block_id, propose.valid_round, self._key.public)
        return SignedProposal(body, self._key.sign(Domain.PROPOSAL, self._network, encode(body)), block, polka)

    def _observing(self) -> bool:
        return self._height <= self._halted_until

    async def _timer(self, timeout: _Timeout) -> None:
        await trio.sleep(self._timing.timeout_s(timeout.kind, timeout.round))
        await self._send.send(timeout)

    async def _say(self, message: wire.Wire) -> None:
        self._retry += 1
        topic = "proposals" if isinstance(message, SignedProposal) else "votes"
        await self._publish(topic, wire.pack(message, self._retry))

    async def _repeat(self) -> None:
        """Gossip loses messages: each full round-time, say the current round's own words and what let us enter it again."""
        while True:
            await trio.sleep(self._timing.rebroadcast_ms / 1000)
            machine = self._machine
            if machine.step is Step.NEW:
                continue
            for message in list(self._own)[-3:]:
                await self._say(message)
            if machine.round > 0:
                votes = machine.votes.votes(machine.round - 1, VoteType.PRECOMMIT) + machine.votes.votes(machine.round, VoteType.PREVOTE)
                if votes:
                    await self._say(RoundCertificate(self._height, machine.round, votes))

    # -- decisions ------------------------------------------------------------------------------------------------

    async def _decide(self, decision: Decide) -> None:
        machine = self._machine
        block = next(p.block for p in machine.proposals.values() if p.proposal.block_id == decision.block_id)
        votes = machine.votes.votes(decision.round, VoteType.PRECOMMIT)
        await self._commit(block, commit_certificate(votes, self._height, decision.round, decision.block_id))

    async def _take_commit(self, item: _Commit) -> None:
        """A certificate from sync decides like our own precommits would (D)."""
        block, certificate = item.block, item.certificate
        good = (
            certificate.height == self._height and block.block_id == certificate.block_id
            and verify_commit(certificate, self._network, self._validators)
            and check_block(self._app, self._network, block, self._machine.proposer_of(block.header.round), None) is None
        )
        if good:
            await self._commit(block, certificate)
        item.done.set()

    async def _commit(self, block: Block, certificate: CommitCertificate) -> None:
        found = [encode(DuplicateVote(*pair)) for pair in self._machine.votes.conflicts.values()]
        found += [encode(duplicate_proposal(*two)) for two in self._machine.proposal_conflicts.values()]
        self._evidence.update(dict.fromkeys(found[: MAX_EVIDENCE - len(self._evidence)]))
        for raw in block.evidence:
            self._evidence.pop(raw, None)
        _, after = increment(self._validators, self._priorities, 1)
        self._app.finalize(block, certificate, dump_priorities(self._validators, after))
        self._guard.prune(self._height)
        self._new_height()
        self._on_commit(block, certificate)
        self._nursery.start_soon(self._pace, self._height)
        early, self._early = self._early, {}
        for message in early.values():
            await self._take_message(message)

    async def _pace(self, height: int) -> None:
        """Wait after a decision: a short while, and longer while there is nothing to decide."""
        await trio.sleep(self._timing.block_interval_ms / 1000)
        if not self._has_txs():
            self._wake = trio.Event()
            with trio.move_on_after((self._timing.empty_block_interval_ms - self._timing.block_interval_ms) / 1000):
                await self._wake.wait()
        await self._send.send(height)

    # -- restart --------------------------------------------------------------------------------------------------

    async def _replay(self) -> None:
        """Feed the machine this height's log; compare what it wants to sign with what was signed before."""
        guard, logged = self._guard.load(), self._guard.inputs(self._height)
        wanted: dict[tuple[int, int], CastVote] = {}
        signed: dict[tuple[int, int], bytes] = {}
        if logged:
            _note(self._machine.start(), wanted)
        for raw in logged:
            _note(self._replay_one(raw, signed), wanted)
        differs = any(place in wanted and encode(self._vote(wanted[place]).vote) != body for place, body in signed.items())
        if guard is not None and guard.height >= self._height and (differs or guard.sign_bytes not in signed.values()):
            self._halted_until = guard.height
            log.warning("the log does not lead to the last signature: observing only", until=guard.height)
        if logged and self._machine.step is not Step.DECIDED:
            self._nursery.start_soon(self._timer, _Timeout(_timer_kind(self._machine.step), self._height, self._machine.round))
            # what the crash cut off between deciding to vote and signing it
            await self._act([vote for place, vote in sorted(wanted.items()) if place not in signed])

    def _replay_one(self, raw: bytes, signed: dict[tuple[int, int], bytes]) -> list[Effect]:
        plain = decode(raw)
        if plain[0] == "t":
            return self._machine.on_timeout(TimeoutKind(plain[1]), plain[2])
        message = wire.parse(raw)
        if isinstance(message, SignedVote) and message.vote.validator == self._key.public:
            signed[message.vote.round, int(message.vote.type)] = encode(message.vote)
            self._own.append(message)
        elif isinstance(message, SignedProposal) and message.proposal.proposer == self._key.public:
            self._own.append(message)
            signed[message.proposal.round, 0] = encode(message.proposal)
        return self._feed(message)


def _note(effects: list[Effect], wanted: dict[tuple[int, int], CastVote]) -> None:
    for effect in effects:
        if isinstance(effect, CastVote):
            wanted[effect.round, int(effect.type)] = effect


def _timer_kind(step: Step) -> TimeoutKind:
    return {Step.PREVOTE: TimeoutKind.PREVOTE, Step.PRECOMMIT: TimeoutKind.PRECOMMIT}.get(step, TimeoutKind.PROPOSE)
