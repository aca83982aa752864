"""The consensus of one peer, without I/O or time of its own. Law: one input in, outputs out; each output after what
made it is durable.

The driver stands between the rules (machine.py) and the world (engine.py, or the simulator). It feeds what arrives to
the machine, carries out its effects, commits, moves from height to height, and resumes where a crash stopped it. It
raises StorageError when the guard or a block cannot be written: then the peer must halt.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from p2p.base.keys import Key, NetworkId
from p2p.base.outcome import Outcome
from p2p.base.resumable import Resumable, run_to_end
from p2p.consensus import replay, wire
from p2p.consensus.application import Application
from p2p.consensus.certificates import commit_certificate, verify_commit
from p2p.consensus.events import (
    Broadcast,
    Commit,
    Committed,
    Input,
    Output,
    ProposalArrived,
    ProposeNow,
    Rebroadcast,
    Reload,
    SetTimer,
    StartHeight,
    Timeout,
    TransactionsArrived,
)
from p2p.consensus.evidence import EvidencePool, evidence_of_proposals, evidence_of_votes
from p2p.consensus.guard import GuardLog
from p2p.consensus.inbox import Inbox
from p2p.consensus.machine import Machine
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal, SignedVote, VoteType
from p2p.consensus.next_height_buffer import NextHeightBuffer
from p2p.consensus.pacing import Pacing, late_rounds
from p2p.consensus.proposal_check import ProposalCheck
from p2p.consensus.proposer import Proposer
from p2p.consensus.rebroadcast import polka_with_proposal, repeats
from p2p.consensus.round import CastVote, Decide, Effect, Propose, ScheduleTimeout, Step
from p2p.consensus.signer import Signer
from p2p.consensus.status import ConsensusStatus
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ProposerSchedule, ValidatorSet, dump_priorities, increment, load_priorities

log = structlog.get_logger()

RETRY_MASK = 0x7FFF_FFFF  # a retry counter begins with the low 31 bits of the clock
EVIDENCE_PER_REPEAT = 4


class Driver:
    """Call begin() once. Then judge() bytes from the network and take() what it gives, and take() the event of each
    SetTimer.

    begin_resumably() and take_resumably() do the same as resumable work (base/resumable.py): it pauses where a block's
    transactions are checked or applied. During a pause others may judge and read; nothing else may be taken.
    """

    def __init__(
        self, *, key: Key, network: NetworkId, app: Application, guard: GuardLog, timing: Timing,
        clock: Callable[[], int], has_txs: Callable[[], bool] = lambda: False,
        strain: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """clock: milliseconds since 1970. has_txs: whether transactions wait for a block. strain: as in Pacing."""
        self._key, self._network, self._app = key, network, app
        self.pace, self.clock, self._has_txs = Pacing(timing, strain), clock, has_txs
        # another start begins elsewhere, so its repeats pass gossip's duplicate filter
        self._retry = clock() & RETRY_MASK
        self.evidence = EvidencePool(network)
        self.next_height = NextHeightBuffer()
        self.previous: Machine | None = None  # of the height decided last: conflicts that come late are still evidence
        self.signer = Signer(key, network, guard)
        self._proposer = Proposer(key, network, app, self.signer, self.evidence, timing, clock)
        self.check = ProposalCheck(network, app, self.pace)
        self._out: list[Output] = []
        self._took_ms = 0  # from the beginning of the last height to its decision
        self._new_height()
        self.inbox = Inbox(self, network)

    def _new_height(self) -> None:
        app = self._app
        self.height = app.height() + 1
        self.validators = ValidatorSet.of(app.validators())
        self.next_validators = ValidatorSet.of(app.next_validators())
        self._priorities = load_priorities(app.priorities(), self.validators)
        schedule = ProposerSchedule(self.validators, self._priorities)
        self.machine = Machine(self._key.public, self.validators, schedule)
        self.signer.start_height(self.height, self.validators)
        self.check.start_height(self.previous)
        self._waiting = False  # for transactions, before this height begins
        self._begun_ms: int | None = None  # when this height began

    # -- inputs ---------------------------------------------------------------------------------------------------

    def begin(self) -> list[Output]:
        """Replay what was logged before a crash, and set the first timers."""
        return run_to_end(self.begin_resumably())

    def begin_resumably(self) -> Resumable[list[Output]]:
        self._set_timer(self.pace.rebroadcast_ms(), Rebroadcast())
        if not (yield from self._resume()):
            self._set_timer(self.pace.now.block_interval_ms, StartHeight(self.height, even_if_empty=False))
        return self._flush()

    def judge(self, data: bytes) -> tuple[Outcome, wire.Wire | None]:
        """What becomes of a message, and the message to take, if any: see inbox.py."""
        return self.inbox.judge(data)

    def is_punished(self, who: bytes) -> bool:
        return who in self._app.punished()

    def take(self, event: Input) -> list[Output]:
        """One input, judged before. Raises StorageError: halt the peer."""
        return run_to_end(self.take_resumably(event))

    def take_resumably(self, event: Input) -> Resumable[list[Output]]:
        match event:
            case Timeout():
                if event.height == self.height:
                    self.signer.note(event)
                    yield from self._act(self.machine.on_timeout(event.kind, event.round))
            case StartHeight():
                yield from self._start_height(event)
            case Rebroadcast():
                self._set_timer(self.pace.rebroadcast_ms(), Rebroadcast())
                self._rebroadcast()
            case TransactionsArrived():
                if self._waiting:
                    yield from self._begin()
            case Commit():
                yield from self._take_commit(event)
            case ProposeNow():
                yield from self._propose_now(event)
            case ProposalArrived():
                yield from self._take_message(event.proposal, event.at_ms)
            case Reload():
                event.install()
                self.signer.prune(self._app.height())
                self.previous = None
                self._new_height()
                self._set_timer(self.pace.now.block_interval_ms, StartHeight(self.height, even_if_empty=False))
            case _:
                yield from self._take_message(event, self.clock())
        return self._flush()

    def _flush(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    def _start_height(self, event: StartHeight) -> Resumable[None]:
        """Start after a short wait where transactions are waiting, else after a longer one."""
        if event.height != self.height:
            return
        if event.even_if_empty or self._has_txs():
            yield from self._begin()
        else:
            self._waiting = True
            self._set_timer(self.pace.rest_ms(self._took_ms), StartHeight(self.height, even_if_empty=True))

    def _begin(self) -> Resumable[None]:
        """Enter round 0 of this height."""
        if self.machine.step is Step.NEW:
            self._begun_ms = self.clock()
        yield from self._act(self.machine.start())

    def _propose_now(self, event: ProposeNow) -> Resumable[None]:
        round_ = event.propose.round
        is_now = (event.height, round_, Step.PROPOSE) == (self.height, self.machine.round, self.machine.step)
        if is_now and not self.signer.has_signed((round_, replay.PROPOSAL_STEP)):
            yield from self._act([event.propose])

    def _take_message(self, message: wire.Wire, at_ms: int) -> Resumable[None]:
        if isinstance(message, wire.EvidenceNote):
            self.evidence.add(message.evidence, self.validators, self.height)
            return
        height = wire.height_of(message)
        if height == self.height + 1:
            self.next_height.add(message, at_ms)
        elif height == self.height - 1 and self.previous is not None:
            self._take_late(self.previous, message)
        elif height == self.height:
            if self.machine.step is Step.NEW:
                yield from self._begin()  # others have begun: no reason to wait longer
            if self.height == height and self.machine.is_news(message):
                judged = replay.Judged(message)
                if isinstance(message, SignedProposal):
                    judged = yield from self.check.look_at(self.machine, message, at_ms)
                self.signer.note(judged)
                yield from self._act(replay.feed(self.machine, judged))

    def _take_late(self, machine: Machine, message: wire.Wire) -> None:
        """A message of the height decided last decides nothing, but may convict its sender."""
        replay.feed(machine, replay.Judged(message, valid=False))
        self._find_evidence(machine)

    # -- effects --------------------------------------------------------------------------------------------------

    def _act(self, effects: list[Effect]) -> Resumable[None]:
        """Carry out effects. What we sign is fed to the machine at once, before it is broadcast."""
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            if isinstance(effect, ScheduleTimeout):
                timeout = Timeout(effect.kind, self.height, effect.round)
                self._set_timer(self.pace.timeout_ms(effect.kind, effect.round), timeout)
            elif isinstance(effect, Decide):
                yield from self._decide(effect)
                return
            elif isinstance(effect, Propose) and (wait_ms := self._proposer.wait_ms(self.machine, effect)):
                self._set_timer(wait_ms, ProposeNow(self.height, effect))
            elif isinstance(effect, Propose | CastVote):
                message = self._sign(effect)
                if message is not None:
                    todo += replay.feed(self.machine, replay.Judged(message))
                    self._broadcast(message)
                    self._show_lock(message)

    def _sign(self, effect: Propose | CastVote) -> replay.Signed | None:
        if isinstance(effect, Propose):
            return self._proposer.propose(self.machine, effect)
        return self.signer.sign_vote(effect)

    def _show_lock(self, message: replay.Signed) -> None:
        """Rule R: after round 0 a precommit goes out with its proposal and polka, so that no lock stays hidden."""
        valid = self.machine.valid
        if isinstance(message, SignedVote) and message.vote.round > 0 and valid and valid[1] == message.vote.round:
            for part in polka_with_proposal(self.machine, self.height, *valid):
                self._broadcast(part)

    def _rebroadcast(self) -> None:
        """Rule R: evidence that no block has carried yet, and what this round needs."""
        for raw in self.evidence.pending(self.validators, self._app.punished(), limit=EVIDENCE_PER_REPEAT):
            self._broadcast(wire.EvidenceNote(self.height, raw))
        for message in repeats(self.machine, self.height, self.signer.own):
            self._broadcast(message)

    def _broadcast(self, message: wire.Wire) -> None:
        self._retry += 1
        topic = "proposals" if isinstance(message, SignedProposal) else "votes"
        self._out.append(Broadcast(topic, wire.pack(message, self._retry)))

    def _set_timer(self, delay_ms: int, event: Timeout | StartHeight | Rebroadcast | ProposeNow) -> None:
        self._out.append(SetTimer(delay_ms, event))

    # -- decisions ------------------------------------------------------------------------------------------------

    def _decide(self, decision: Decide) -> Resumable[None]:
        signed = self.machine.proposal_of(decision.block_id)
        assert signed is not None  # rule D decides only a proposal that the machine holds
        votes = self.machine.votes.votes_for(decision.round, VoteType.PRECOMMIT, decision.block_id)
        certificate = commit_certificate(votes, self.height, decision.round, decision.block_id)
        yield from self._commit(signed.block, certificate)

    def _take_commit(self, item: Commit) -> Resumable[None]:
        """A certificate from sync decides as our own precommits would (rule D)."""
        block, certificate = item.block, item.certificate
        if not (
            certificate.height == self.height and block.block_id == certificate.block_id
            and block.header.round <= certificate.round
            and verify_commit(certificate, self._network, self.validators)
        ):
            return
        if (yield from self.check.fault(self.machine, block)) is None:
            yield from self._commit(block, certificate)

    def _commit(self, block: Block, certificate: CommitCertificate) -> Resumable[None]:
        self._find_evidence(self.machine)
        self.check.decided(block)
        self._keep_pace(certificate.round)
        _, after = increment(self.validators, self._priorities, 1)
        priorities = dump_priorities(self.validators, after)
        yield from self._app.execute(block, priorities)
        self._app.finalize(block, certificate, priorities)
        self.signer.prune(self.height)
        self.previous = self.machine
        self._new_height()
        self._out.append(Committed(block, certificate))
        self._set_timer(self.pace.now.block_interval_ms, StartHeight(self.height, even_if_empty=False))
        for buffered in self.next_height.drain(self.height):
            yield from self._take_message(buffered.message, buffered.at_ms)

    def _keep_pace(self, round_: int) -> None:
        """Rule A. A height that only sync brought took no time here."""
        self._took_ms = self.clock() - self._begun_ms if self._begun_ms is not None else 0
        self.pace.decided(late_rounds(self.machine, round_), round_, self._took_ms)

    def _find_evidence(self, machine: Machine) -> None:
        """Convict whom the machine's conflicts convict. Those already convicted or punished are skipped: each of
        their late votes is one more conflict, and proving all of them with every vote would cost the square of
        their number."""
        known = self.evidence.offenders() | self._app.punished()
        found = [evidence_of_votes(pair) for pair in machine.conflicts() if pair[0].vote.validator not in known]
        found += [
            evidence_of_proposals(pair) for (who, _), pair in machine.proposal_conflicts.items() if who not in known
        ]
        for raw in found:
            self.convict(raw, machine.validators)

    def convict(self, raw: bytes, validators: ValidatorSet) -> None:
        """Put new evidence into the pool and broadcast it at once. May be called during a pause, by whoever judges."""
        if self.evidence.add(raw, validators, self.height):
            log.warning("a validator broke the rules", height=self.height)
            self._broadcast(wire.EvidenceNote(self.height, raw))

    # -- restart --------------------------------------------------------------------------------------------------

    def _resume(self) -> Resumable[bool]:
        """Resume where the log of this height ends. True when the height had begun."""
        found = self.signer.recover(self.machine)
        if not found.begun:
            return False
        if found.decision is not None:  # the crash came between the last vote and the commit
            yield from self._decide(found.decision)
            return True
        for timer in found.timers:
            yield from self._act([timer])
        yield from self._act([*found.unsigned()])
        return True

    # -- for others to read ---------------------------------------------------------------------------------------

    def status(self) -> ConsensusStatus:
        """Where this peer stands."""
        m = self.machine
        return ConsensusStatus(
            self.height, m.round, m.step.name.lower(), self._key.public in self.validators,
            m.proposer_of(max(m.round, 0)).hex(), self.pace.percent, len(self.evidence), self.signer.is_observing(),
            self.check.clock_watch.lag_ms, self.check.clock_watch.warning(),
        )

    def size(self) -> int:
        """Messages kept: what must stay bounded."""
        late = self.previous.size() if self.previous else 0
        return self.machine.size() + late + len(self.next_height) + len(self.evidence)
