"""Checks the inferences this peer was drawn to check.

Law: an error, a timeout or a missing model never becomes 'valid'. A verdict is on disk before its commitment leaves, so
a restarted peer reveals the same verdict.

For each duty: fetch the payload (payload_sources.py), check it exactly (stage 0), score it with one prefill on this
peer's ML node (stage 1), commit; reveal when the chain says so.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.codec import encode, unpack
from p2p.base.errors import ConfigError, InvalidRequest, Overloaded, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import GIVE_WAY_CHECK_S
from p2p.base.serving_limits import MAX_FETCHES, REVEAL_RANKS, TOP_RANKS
from p2p.base.types import RecordKind, RevealedRow, Verdict, VerdictCommit, VerdictKind, verdict_commitment
from p2p.chain.stores import payload_keys
from p2p.machine.load import Load
from p2p.machine.tasks import once
from p2p.machine.tracing import EACH, Fact, about
from p2p.metrics.peer import CHECK_S, CHECKS, CHECKS_FAILED, PEER
from p2p.metrics.registry import Registry
from p2p.peer.asked import Asked, open_question, wrong_text
from p2p.peer.gate import Place
from p2p.peer.payload_sources import FoundPayload, PayloadSearch, open_payload
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.scheduled import HoldPlace, check_job
from p2p.scheduling.classes import due_at
from p2p.verification import artifact as artifacts
from p2p.verification import check, profile, statistics, tape
from p2p.verification.duty import reveal_positions
from p2p.verification.engine import Row
from p2p.verification.kernels import judged_as
from p2p.verification.marks import rows_of
from p2p.verification.sampling import Sampling
from p2p.wire.frames import Payload

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.chain.views.inferences import Claim, Duty
    from p2p.peer.agent import OpenStream
    from p2p.peer.outbox import Outbox

log = structlog.get_logger()

MAX_CHECKS_AT_ONCE = 2  # on the ML node
CHECK_HEIGHT_S = 0.5  # that a height is taken to last when a check's time is counted: blocks come faster under load
MAX_CHECKS_LATE = 8  # begun at once by a peer that is late: so many it must get through to keep its duties
RETRY_S = 2.0
MAX_REASON = 300  # characters of a verdict's sentence
NONCE_BYTES = 32  # of a verdict
MIN_LOGPROB = -1000.0  # nats; what a row that an engine gives is cut to before it goes on chain


@dataclass(frozen=True, slots=True)
class Opinion:
    """What this peer thinks of an answer, before it becomes a verdict."""

    report: check.CheckResult
    rows: Sequence[Row] = ()  # of this peer's own prefill, which the report rests on; none where stage 0 refused
    withheld: bool = False  # nobody gave the payload, so the report says nothing about the answer


@dataclass(slots=True)
class Validator:
    """One per peer. Attacks (p2p/lab/attacks) override `opinion`, `numbers` or `verdict`."""

    key: Key
    network: NetworkId
    chain: Chain
    outbox: Outbox
    open_stream: OpenStream
    # None until the ML node is there, and while it is gone; it scores with `ready.checks`
    ready: ReadyEngine | None = None
    profile: profile.Profile | None = None  # of its own model; for others the one that is shipped for them
    load: Load = field(default_factory=Load)
    metrics: Registry = field(default_factory=partial(Registry, PEER))
    place: HoldPlace | None = None  # the scheduler's; None: _places
    engine_at: Callable[[str], ReadyEngine | None] = lambda name: None  # of the ML node of that name
    engine_of: Callable[[str], ReadyEngine | None] | None = None  # some ML node with that model; None: `ready`
    _places: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_CHECKS_AT_ONCE))
    _busy: set[bytes] = field(default_factory=set)  # inferences being checked now
    _waiting: set[bytes] = field(default_factory=set)  # inferences whose check found no place at the last look
    _sent: set[tuple[bytes, int, bool]] = field(default_factory=set)  # steps that are done: see _step

    @property
    def checking(self) -> int:
        """Checks that run now."""
        return len(self._busy)

    def owing(self, until: int | None = None) -> int:
        """Duties that it has not finished: no check, or no verdict on chain. until: the last height whose draws count;
        None: all do."""
        owed = self.chain.reader.owed(self.key.public)
        return sum(
            (until is None or one.height <= until) and (one.committed or self.ready is not None) for one in owed
        )

    async def on_height(self, nursery: trio.Nursery, *, until: int | None = None) -> None:
        """Reveal what is due; start a check for each duty that has none, at most MAX_FETCHES together. until: the last
        height whose draws are checked; None: all are."""
        duties, waiting = self.chain.reader.pending_duties(self.key.public), set[bytes]()
        self._sent &= {_step(duty) for duty in duties}
        for duty in duties:
            if _step(duty) in self._sent or duty.inference_id in self._busy:
                continue
            if duty.commitment is not None:
                self._reveal(duty)
            elif until is not None and duty.height > until:
                continue
            elif self.ready is not None and len(self._busy) < (MAX_CHECKS_LATE if self.load.is_late else MAX_FETCHES):
                self._busy.add(duty.inference_id)
                nursery.start_soon(once, "check", self._check, duty)
            elif self.ready is not None:
                waiting.add(duty.inference_id)
        self.load.is_behind = bool(waiting & self._waiting)
        self._waiting = waiting

    async def _check(self, duty: Duty) -> None:
        with about("check", duty.inference_id) as facts:
            await self._check_one(duty, facts)

    async def _check_one(self, duty: Duty, facts: dict[str, Fact]) -> None:
        began = trio.current_time()
        try:
            verdict = self._kept_verdict(duty)
            if verdict is None:
                await self.load.give_way(GIVE_WAY_CHECK_S)
                claim = self.chain.reader.claim(duty.inference_id)
                if claim is None:
                    return
                verdict = self.verdict(duty, await self.opinion(duty, claim))
                await trio.to_thread.run_sync(
                    self.chain.payloads.put, payload_keys.verdict(duty.inference_id, duty.height), encode(verdict)
                )
            commit = VerdictCommit(duty.inference_id, self.key.public, verdict_commitment(verdict))
            self.outbox.put(RecordKind.VERDICT_COMMIT, commit)
            self._sent.add(_step(duty))
            facts["verdict"] = word = verdict.kind.name.lower()
            self.metrics.add(CHECKS, word)
            self.metrics.observe(CHECK_S, trio.current_time() - began)
            log.info("an answer is checked", verdict=word, reason=verdict.reason, height=duty.height, **{EACH: True})
        except (Unavailable, Overloaded) as error:  # this peer's own engine or queue; tried again at the next height
            self.metrics.add(CHECKS_FAILED)
            log.warning("check not done", inference=duty.inference_id.hex(), reason=str(error))
            await trio.sleep(RETRY_S)
        finally:
            self._busy.discard(duty.inference_id)

    def _reveal(self, duty: Duty) -> None:
        verdict = self._kept_verdict(duty)
        self._sent.add(_step(duty))
        if verdict is None or verdict_commitment(verdict) != duty.commitment:
            log.warning("the verdict this peer committed to is not on disk", inference=duty.inference_id.hex())
            return
        try:
            self.outbox.put(RecordKind.VERDICT, verdict)
            log.info("a verdict is revealed", inference=duty.inference_id.hex(), **{EACH: True})
        except Overloaded:
            self._sent.discard(_step(duty))  # tried again at the next height

    def _kept_verdict(self, duty: Duty) -> Verdict | None:
        raw = self.chain.payloads.read(payload_keys.verdict(duty.inference_id, duty.height))
        return unpack(Verdict, raw) if raw is not None else None

    # -- what attacks replace -------------------------------------------------------------------------------------

    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        """The whole check. Raises Unavailable if this peer cannot judge."""
        ready = self.engine_of(claim.request.model) if self.engine_of is not None else self.ready
        if ready is None:
            raise Unavailable("the ML node is not ready", field="ml_node")
        if self.key.public == (claim.host or claim.finish.executor):
            raise Unavailable("a peer does not check its own inference", field="executor")
        try:
            found = await self._payload(duty, claim)
        except Unavailable as error:
            return Opinion(check.refused(error.message), withheld=True)
        body, artifact = found.body, found.artifact
        seed = tape.tape_seed(claim.beacon, duty.inference_id, claim.request.client_nonce, claim.request.params.seed)
        try:
            asked = await trio.to_thread.run_sync(open_question, ready, claim, body)
        except InvalidRequest as error:
            # This machine may be too slow for its grammar, so nobody is convicted for it. Nobody is paid for an answer
            # that no validator can check, either.
            return Opinion(check.refused(f"the request cannot be checked here: {error}"), withheld=True)
        wrong = await trio.to_thread.run_sync(self.exact, artifact, claim, seed, ready, asked)
        if wrong is not None:
            return Opinion(check.refused(wrong))
        async with self._place(duty, claim, len(asked.prompt) + len(artifact.tokens)) as place:
            ready = self.engine_at(place.node) or ready
            await self.load.give_way(GIVE_WAY_CHECK_S)
            engine = ready.checks_by(time.time() + place.due - trio.current_time())
            try:
                rows = await rows_of(engine, asked.prompt, artifact, body, asked.sampling, statistics.ROW_TOP)
            except InvalidRequest as error:
                if error.field != "tokens":
                    raise Unavailable(error.message, field="ml_node") from error
                return Opinion(check.refused(error.message))  # the model has no such tokens, so it did not give them
        weigh = partial(self.weigh, artifact, rows, ready.stack, claim.spec.profile_hash, sampling=asked.sampling)
        return Opinion(await trio.to_thread.run_sync(weigh), rows)

    @asynccontextmanager
    async def _place(self, duty: Duty, claim: Claim, tokens: int) -> AsyncIterator[Place]:
        """A place for a check's prefill, of no ML node without a scheduler. Raises Overloaded: tried again at the next
        height."""
        now, left = trio.current_time(), max(duty.closes - self.chain.height(), 1)
        job = check_job(claim.request.model, tokens, now + left * CHECK_HEIGHT_S)
        if self.place is None:
            async with self._places:
                yield Place("", due_at(job, now))
            return
        async with self.place(job) as place:
            yield place
            place.tokens = tokens

    def exact(
        self, artifact: artifacts.Artifact, claim: Claim, seed: bytes, ready: ReadyEngine, asked: Asked
    ) -> str | None:
        """Stage 0 with prompt and text. The sentence that says what is wrong, or None."""
        wrong = check.check_exact(
            artifact, claim.request, claim.finish, claim.spec, seed, ready.eos_ids, drawn=claim.candidates,
            sampling=asked.sampling,
        )
        return wrong or wrong_text(asked, artifact, claim.finish, ready.words().vocabulary)

    def weigh(
        self, artifact: artifacts.Artifact, rows: Sequence[Row], own: str, wanted: str = "", *,
        sampling: Sampling | None = None,
    ) -> check.CheckResult:
        """Stage 1 under the calibration of the two stacks; the executor's is what its numbers show
        (verification/kernels.py). own: this peer's stack. wanted: hash of the profile that
        validators of the model must use, '' for any. sampling: how the request wants its answer sampled. Raises
        Unavailable if this stack is not calibrated or the profile is another one."""
        stack = artifact.header.stack
        model = artifact.header.model
        found = self.profile if self.profile is not None and self.profile.model == model else profile.shipped(model)
        if found is None:
            raise Unavailable(f"no calibration of {model}; run: folkmoot calibrate", field="profile")
        if wanted and found.hash() != wanted:
            raise Unavailable(
                f"this profile is {found.hash()[:12]}, validators of the model judge by {wanted[:12]}; "
                "get that file and set `profile`", field="profile",
            )
        if not found.knows(stack):  # a refusal, not an error: else any executor could make validators miss their duty
            return check.refused("the artifact names a stack that is not calibrated for this model")
        kernels = judged_as(found, own, artifact, rows)
        try:
            noise = found.noise(kernels.stack, own, context=artifact.header.context)
        except ConfigError as error:
            raise Unavailable(error.message, field="profile") from error
        ppm = self.chain.reader.checks().false_alarm_ppm
        report = check.judge(artifact, rows, noise, ppm=ppm, equal=kernels.equal, sampling=sampling)
        return check.of_other_kernels(report) if kernels.refuted else report

    def numbers(self, duty: Duty, rows: Sequence[Row]) -> tuple[RevealedRow, ...]:
        """This validator's own candidates after the artifact's, at its drawn positions: they prove that it ran the
        prefill."""
        positions = reveal_positions(duty.beacon, duty.inference_id, self.key.public, len(rows))
        return tuple(RevealedRow(at, next_ranks(rows[at], duty.earlier)) for at in positions)

    def verdict(self, duty: Duty, opinion: Opinion) -> Verdict:
        """What is signed and revealed later; the nonce hides it in the commitment until then."""
        report = opinion.report
        numbers = self.numbers(duty, opinion.rows[: report.tokens])
        kind = VerdictKind.WITHHELD if opinion.withheld else VerdictKind.VALID if report.valid else VerdictKind.INVALID
        return Verdict(
            duty.inference_id, self.key.public, kind, report.reason[:MAX_REASON], report.llr_milli, report.tokens,
            numbers,
            secrets.token_bytes(NONCE_BYTES),
        )

    async def _payload(self, duty: Duty, claim: Claim) -> FoundPayload:
        """Fetched and kept: for the rest of the committee, and so that this peer's owner can check it again (folkmoot
        verify). Raises Unavailable if nobody gives it."""
        raw = await trio.to_thread.run_sync(self.chain.payloads.read, bytes(duty.inference_id))
        if raw is not None:
            kept = await trio.to_thread.run_sync(open_payload, stored_payload(raw), claim)
            if kept is not None:
                return kept
        found = await PayloadSearch(self.key.public, duty, claim, self.open_stream, self.chain.height).run()
        await trio.to_thread.run_sync(self.chain.payloads.put, bytes(duty.inference_id), encode(found.payload))
        return found


def next_ranks(row: Row, earlier: int = 0) -> tuple[tuple[int, int], ...]:
    """(token, log-probability in thousandths of a nat) of ranks that nothing on chain holds yet: 9 to 12 for an
    inference's first committee, 13 to 16 for its second, which has seen those of the first, and so on.

    earlier: how many committees were drawn before this one. Ties are ordered by token id. Raises Unavailable if the row
    is too short.
    """
    first = TOP_RANKS + REVEAL_RANKS * earlier
    best = sorted(row.items(), key=lambda item: (-item[1], item[0]))[first : first + REVEAL_RANKS]
    if len(best) < REVEAL_RANKS:
        raise Unavailable(f"the ML node gives fewer than {first + REVEAL_RANKS} candidates", field="ml_node")
    return tuple((token, round(min(max(logprob, MIN_LOGPROB), 0.0) * 1000)) for token, logprob in best)


def _step(duty: Duty) -> tuple[bytes, int, bool]:
    """(inference, height of the duty, whether it is the reveal)."""
    return duty.inference_id, duty.height, duty.commitment is not None


def stored_payload(raw: bytes) -> Payload:
    """A payload as the store keeps it."""
    return unpack(Payload, raw)
