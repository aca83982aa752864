"""Consensus of one peer without I/O or time of its own. Law: an input in, outputs out; durable before any signature leaves.

Between the rules (`machine`) and the world (`engine`, or a simulator): checks what arrives, signs behind the guard, builds and checks
blocks, commits, moves from height to height, replays its log after a crash. Raises StorageError when the guard cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, NetworkId
from p2p.base.outcome import Outcome
from p2p.base.resumable import Resumable, run_to_end
from p2p.consensus import replay, wire
from p2p.consensus.application import Application
from p2p.consensus.certificates import commit_certificate, polka_certificate, round_certificate, verify_commit
from p2p.consensus.clock import ClockWatch
from p2p.consensus.events import Broadcast, Commit, Committed, Due, Heard, Input, Output, Reload, Repeat, SetTimer, StartHeight, Timeout, Wake
from p2p.consensus.evidence import EvidencePool, of_proposals, of_votes
from p2p.consensus.guard import GuardLog, GuardRecord, may_sign
from p2p.consensus.header import check_block, make_block
from p2p.consensus.inbox import Inbox
from p2p.consensus.machine import Machine
from p2p.consensus.messages import (
    Block,
    CommitCertificate,
    Proposal,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.consensus.next_height_buffer import EarlyMessages
from p2p.consensus.round import CastVote, Decide, Effect, Propose, ScheduleTimeout, Step
from p2p.consensus.timing import Timing
from p2p.consensus.validators import Turns, ValidatorSet, dump_priorities, increment, load_priorities

log = structlog.get_logger()


class Driver:
    """begin() once, then judge() bytes from the network and take() what it gives, and every event of a SetTimer.

    Each has its steps, which yield where a block's transactions are checked or applied: meanwhile others may judge and look, and nothing
    else may be taken."""

    def __init__(
        self, *, key: Key, network: NetworkId, app: Application, guard: GuardLog, timing: Timing, clock: Callable[[], int],
        has_txs: Callable[[], bool] = lambda: False,
    ) -> None:
        self._key, self._network, self._app, self._guard = key, network, app, guard
        self.timing, self.clock, self._has_txs = timing, clock, has_txs
        self._retry = clock() & 0x7FFFFFFF  # another start is another counter: repeats pass gossip's filter
        self.evidence = EvidencePool(network)
        self.early = EarlyMessages()
        self.before: Machine | None = None  # the height that was decided last: late conflicts are still evidence
        self._clock_watch = ClockWatch(timing)
        self._observe_until = 0  # observe only up to this height (replay did not reach the guard)
        self._out: list[Output] = []
        self._new_height()
        self.inbox = Inbox(self, network)

    def _new_height(self) -> None:
        app = self._app
        self.height = app.height() + 1
        self.validators = ValidatorSet.of(app.validators())
        self.next_validators = ValidatorSet.of(app.next_validators())
        self._priorities = load_priorities(app.priorities(), self.validators)
        self.machine = Machine(self._key.public, self.validators, Turns(self.validators, self._priorities))
        self._arrived: dict[bytes, int] = {}  # by block: when others' fresh proposals that we keep came
        self._own: dict[tuple[int, int], SignedVote | SignedProposal] = {}  # by (round, step), as the guard has it
        self._unlogged: list[replay.Logged] = []
        self._waiting = False

    # -- ways in --------------------------------------------------------------------------------------------------

    def begin(self) -> list[Output]:
        """Replay what was logged before a crash, and set the first alarms."""
        return run_to_end(self.begin_resumably())

    def begin_resumably(self) -> Resumable[list[Output]]:
        self._alarm(self.timing.rebroadcast_ms, Repeat())
        if not (yield from self._replay()):
            self._alarm(self.timing.block_interval_ms, StartHeight(self.height, patient=False))
        return self._flush()

    def judge(self, data: bytes, *, whole: bool = True) -> tuple[Outcome, wire.Wire | None]:
        """(what becomes of it, message to take or None): see inbox.py."""
        return self.inbox.judge(data, whole=whole)

    def is_punished(self, who: bytes) -> bool:
        return who in self._app.punished()

    def take(self, event: Input) -> list[Output]:
        """One input, judged before. Raises StorageError: halt the peer."""
        return run_to_end(self.take_resumably(event))

    def take_resumably(self, event: Input) -> Resumable[list[Output]]:
        match event:
            case Timeout():
                if event.height == self.height:
                    self._unlogged.append(event)
                    yield from self._act(self.machine.on_timeout(event.kind, event.round))
            case StartHeight():
                yield from self._pace(event)
            case Repeat():
                self._alarm(self.timing.rebroadcast_ms, Repeat())
                self._repeat()
            case Wake():
                if self._waiting:
                    yield from self._act(self.machine.start())
            case Commit():
                yield from self._take_commit(event)
            case Due():
                due = event.propose.round, 0
                if event.height == self.height and (self.machine.round, self.machine.step) == (due[0], Step.PROPOSE) and due not in self._own:
                    yield from self._act([event.propose])
            case Heard():
                yield from self._take_message(event.proposal, event.at_ms)
            case Reload():
                event.install()
                self._guard.prune(self._app.height())
                self.before = None
                self._new_height()
                self._alarm(self.timing.block_interval_ms, StartHeight(self.height, patient=False))
            case _:
                yield from self._take_message(event, self.clock())
        return self._flush()

    def _flush(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    def _take_message(self, message: wire.Wire, at_ms: int) -> Resumable[None]:
        if isinstance(message, wire.EvidenceNote):
            self.evidence.add(message.evidence, self.validators, self.height)
            return
        height = wire.height_of(message)
        if height == self.height + 1:
            self.early.add(message, at_ms)
        elif height == self.height - 1 and self.before is not None:
            self._collect(self.before, message)
        elif height == self.height:
            if self.machine.step is Step.NEW:
                yield from self._act(self.machine.start())  # others are on: no reason to wait longer
            if self.height == height and self.machine.is_news(message):
                judged = (yield from self._look_at(message, at_ms)) if isinstance(message, SignedProposal) else replay.Judged(message)
                self._unlogged.append(judged)
                yield from self._act(replay.feed(self.machine, judged))

    def _collect(self, machine: Machine, message: wire.Wire) -> None:
        """A late message of the last height decides nothing, but may convict its sender."""
        replay.feed(machine, replay.Judged(message, valid=False))
        self._find_evidence(machine)

    def _look_at(self, signed: SignedProposal, at_ms: int) -> Resumable[replay.Judged]:
        """Two verdicts, never mixed: valid is a fact about the block and is kept; timely is what our clock said of the proposal when it came,
        and counts for its round alone, where it is a fresh one (rule P)."""
        valid = yield from self._is_valid(signed)
        proposal, block = signed.proposal, signed.block
        timely, fresh = self.timing.is_timely(block.header.time_ms, at_ms, proposal.round), proposal.pol_round < 0
        if fresh and proposal.proposer != self._key.public and self.machine.wants(signed):
            self._arrived[block.block_id] = at_ms
        if fresh and not timely:
            log.warning("proposal not timely", height=self.height, round=proposal.round, ahead_ms=block.header.time_ms - at_ms)
        return replay.Judged(signed, valid, timely)

    def _is_valid(self, signed: SignedProposal) -> Resumable[bool]:
        block = signed.block
        known = self.machine.validity.get(block.block_id)
        if known is not None:
            return known
        maker = self.machine.proposer_of(block.header.round)
        yield from self._app.precheck(block)
        wrong = check_block(self._app, self._network, block, maker)
        if wrong:
            log.warning("proposal refused", height=self.height, reason=wrong)
        return wrong is None

    # -- effects --------------------------------------------------------------------------------------------------

    def _act(self, effects: list[Effect]) -> Resumable[None]:
        """Carry out effects; what we sign comes back to us as an input at once."""
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            if isinstance(effect, ScheduleTimeout):
                self._alarm(self.timing.timeout_ms(effect.kind, effect.round), Timeout(effect.kind, self.height, effect.round))
            elif isinstance(effect, Decide):
                yield from self._decide(effect)
                return
            elif isinstance(effect, Propose) and (wait_ms := self._wait_ms(effect)):
                self._alarm(wait_ms, Due(self.height, effect))
            elif isinstance(effect, Propose | CastVote):
                message = self._sign(effect)
                if message is not None:
                    self._own[replay.place(message)] = message
                    todo += replay.feed(self.machine, replay.Judged(message))
                    self._say(message)
                    self._show_lock(message)

    def _show_lock(self, message: SignedVote | SignedProposal) -> None:
        """After round 0 a precommit goes with its proposal and polka, so that no lock stays hidden."""
        valid = self.machine.valid
        if isinstance(message, SignedVote) and message.vote.round > 0 and valid is not None and valid[1] == message.vote.round:
            self._say_valid(valid)

    def _say_valid(self, valid: tuple[bytes, int]) -> None:
        signed = self.machine.proposal_of(valid[0])
        if signed is not None:
            self._say(signed)
        self._say(polka_certificate(self.machine.votes, self.height, valid[1], valid[0]))

    def _sign(self, effect: Propose | CastVote) -> SignedVote | SignedProposal | None:
        """G: sign, log and guard in one durable write; None when this peer may not sign here."""
        if not self._may_take_part():
            return None
        message = self._proposal(effect) if isinstance(effect, Propose) else sign_vote(self._key, self._vote(effect))
        if message is None:
            return None
        body = encode(message.vote if isinstance(message, SignedVote) else message.proposal)
        step = 0 if isinstance(message, SignedProposal) else int(message.vote.type)
        guard = GuardRecord(self.height, effect.round, step, body)
        if not may_sign(self._guard.load(), guard):
            log.warning("the guard forbids this signature", height=self.height, round=effect.round, step=step)
            return None
        self._guard.record(self.height, [*map(replay.entry, self._unlogged), replay.entry(replay.Judged(message))], guard)
        self._unlogged = []
        return message

    def _vote(self, cast: CastVote) -> Vote:
        return Vote(self._network, cast.type, self.height, cast.round, cast.block_id, cast.valid_round, self._key.public)

    def _what(self, propose: Propose) -> tuple[bytes | None, int]:
        """O: the block of the newest polka this peer knows and its round, else a new one."""
        newest = self.machine.newest_polka()
        older = newest is not None and propose.valid_round < newest[1] < propose.round
        return newest if newest is not None and older else (propose.block_id, propose.valid_round)

    def _wait_ms(self, propose: Propose) -> int:
        """Y: a new block is dated by a clock that is past the last one."""
        if self._what(propose)[0] is not None or not self._may_take_part():
            return 0
        return self.timing.wait_ms(self._app.last_time_ms(), self.clock())

    def _proposal(self, propose: Propose) -> SignedProposal | None:
        polka, (block_id, pol_round) = None, self._what(propose)
        if block_id is None:
            evidence = self.evidence.pending(self.validators, self._app.punished())
            block = make_block(self._app, self._key, self._network, propose.round, self.clock(), evidence)
        else:
            found = self.machine.proposal_of(block_id)
            if found is None:
                return None
            polka = polka_certificate(self.machine.votes, self.height, pol_round, block_id)
            block = found.block
        body = Proposal(self._network, self.height, propose.round, block.block_id, pol_round, self._key.public)
        return SignedProposal(body, self._key.sign(Domain.PROPOSAL, self._network, encode(body)), block, polka)

    def _may_take_part(self) -> bool:
        return self._key.public in self.validators and not self.observing()

    def observing(self) -> bool:
        return self.height <= self._observe_until

    def _say(self, message: wire.Wire) -> None:
        self._retry += 1
        topic = "proposals" if isinstance(message, SignedProposal) else "votes"
        self._out.append(Broadcast(topic, wire.pack(message, self._retry)))

    def _alarm(self, delay_ms: int, event: Timeout | StartHeight | Repeat | Due) -> None:
        self._out.append(SetTimer(delay_ms, event))

    def _repeat(self) -> None:
        """R: the current round's own words, what let us enter it, the last polka, and evidence no block has carried yet."""
        machine = self.machine
        for raw in self.evidence.pending(self.validators, self._app.punished(), limit=4):
            self._say(wire.EvidenceNote(self.height, raw))
        if machine.step is Step.NEW:
            return
        last = {step: message for (_, step), message in sorted(self._own.items(), key=lambda item: item[0])}
        for _, message in sorted(last.items(), key=lambda item: item[0]):  # the last proposal, prevote and precommit
            self._say(message)
        if machine.round > 0:
            entered = round_certificate(machine.votes, self.validators, self.height, machine.round)
            if entered is not None:
                self._say(entered)
            newest = machine.newest_polka()
            if newest is not None:
                self._say_valid(newest)

    def _pace(self, event: StartHeight) -> Resumable[None]:
        """A short wait after a decision, and a longer one while there is nothing to decide."""
        if event.height != self.height:
            return
        if event.patient or self._has_txs():
            yield from self._act(self.machine.start())
        else:
            self._waiting = True
            self._alarm(self.timing.empty_block_interval_ms - self.timing.block_interval_ms, StartHeight(self.height, patient=True))

    # -- decisions ------------------------------------------------------------------------------------------------

    def _decide(self, decision: Decide) -> Resumable[None]:
        signed = self.machine.proposal_of(decision.block_id)
        assert signed is not None  # D decides only a proposal it holds
        votes = self.machine.votes.votes_for(decision.round, VoteType.PRECOMMIT, decision.block_id)
        yield from self._commit(signed.block, commit_certificate(votes, self.height, decision.round, decision.block_id))

    def _take_commit(self, item: Commit) -> Resumable[None]:
        """A certificate from sync decides like our own precommits would (D)."""
        block, certificate = item.block, item.certificate
        if not (
            certificate.height == self.height and block.block_id == certificate.block_id and block.header.round <= certificate.round
            and verify_commit(certificate, self._network, self.validators)
        ):
            return
        yield from self._app.precheck(block)
        if check_block(self._app, self._network, block, self.machine.proposer_of(block.header.round)) is None:
            yield from self._commit(block, certificate)

    def _commit(self, block: Block, certificate: CommitCertificate) -> Resumable[None]:
        self._find_evidence(self.machine)
        if block.block_id in self._arrived:
            self._clock_watch.heard(block.header.time_ms, self._arrived[block.block_id])
        _, after = increment(self.validators, self._priorities, 1)
        priorities = dump_priorities(self.validators, after)
        yield from self._app.execute(block, priorities)
        self._app.finalize(block, certificate, priorities)
        self._guard.prune(self.height)
        self.before = self.machine
        self._new_height()
        self._out.append(Committed(block, certificate))
        self._alarm(self.timing.block_interval_ms, StartHeight(self.height, patient=False))
        for early in self.early.drain(self.height):
            yield from self._take_message(early.message, early.at_ms)

    def _find_evidence(self, machine: Machine) -> None:
        """What is new among the conflicts. Who is convicted or punished is passed over: each of its late votes is one more conflict, and
        proving all of them with every vote costs their square."""
        known = self.evidence.offenders() | self._app.punished()
        found = [of_votes(pair) for pair in machine.conflicts() if pair[0].vote.validator not in known]
        found += [of_proposals(pair) for (who, _), pair in machine.proposal_conflicts.items() if who not in known]
        for raw in found:
            self.convict(raw, machine.validators)

    def convict(self, raw: bytes, validators: ValidatorSet) -> None:
        """New proof goes into the pool and is told to the others at once. Whoever judges may call it between steps."""
        if self.evidence.add(raw, validators, self.height):
            log.warning("a validator broke the rules", height=self.height)
            self._say(wire.EvidenceNote(self.height, raw))

    # -- restart --------------------------------------------------------------------------------------------------

    def _replay(self) -> Resumable[bool]:
        """Feed the machine this height's log, compare what it wants to sign with what was signed. True when it was under way."""
        last, logged = self._guard.load(), self._guard.inputs(self.height)
        found = replay.run(self.machine, logged, self._key.public)
        differs = any(place in found.wanted and encode(self._vote(found.wanted[place])) != body for place, body in found.signed.items())
        reached = last is None or last.height < self.height or last.sign_bytes in found.signed.values()
        if last is not None and last.height >= self.height and (differs or not reached):
            self._observe_until = last.height
            log.warning("the log does not lead to the last signature: observing only", until=last.height)
        self._own = found.own
        if not logged:
            return False
        if found.decision is not None:  # the crash came between the last vote and the commit
            yield from self._decide(found.decision)
            return True
        for timer in found.timers:
            yield from self._act([timer])
        # what the crash cut off between deciding to vote and signing it
        yield from self._act([vote for place, vote in sorted(found.wanted.items()) if place not in found.signed])
        return True

    def status(self) -> dict[str, Any]:
        m = self.machine
        return {
            "height": self.height, "round": m.round, "step": m.step.name.lower(), "validator": self._key.public in self.validators,
            "proposer": m.proposer_of(max(m.round, 0)).hex(), "evidence": len(self.evidence), "observing": self.observing(),
            "clock_lag_ms": self._clock_watch.lag_ms, "clock": self._clock_watch.says(),
        }

    def size(self) -> int:
        """Messages kept: what must stay bounded."""
        return self.machine.size() + (self.before.size() if self.before else 0) + len(self.early) + len(self.evidence)
