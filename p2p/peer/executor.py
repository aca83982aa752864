"""Answers the requests this peer is drawn for, on its own ML node.

Law: it checks everything again before it works, and signs only what its engine really generated.

Tokens go to the agent as they come. At the end the executor signs a FinishRecord over the whole answer and keeps the
payload (prompt and artifact) for validators.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Domain, Key
from p2p.base.serving_limits import MAX_HELD_TOKENS
from p2p.base.token_ids import unpack_ids
from p2p.base.types import (
    AGENT_CAUSED,
    BusyRecord,
    FinishReason,
    FinishRecord,
    RecordKind,
    SignedBusy,
    SignedFinish,
    SignedRequest,
)
from p2p.machine.load import Load
from p2p.machine.tracing import EACH, about, passes
from p2p.metrics.peer import FIRST, MADE, PEER, SERVE_S, SERVED
from p2p.metrics.registry import Registry
from p2p.peer.admission import Admission, Admitted, NotAdmitted, Once
from p2p.peer.agent_credit import Work
from p2p.peer.beginning import wrong_beginning
from p2p.peer.forward_checks import Checked, check_forward
from p2p.peer.job import Assignment, make_job, prefix_steps
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.showing import Showing
from p2p.peer.stoppable import until_stop
from p2p.peer.telling import Telling
from p2p.text.stop import StopFinder
from p2p.text.vocabulary import TextStream, text_hash
from p2p.verification import artifact as artifacts
from p2p.verification import check
from p2p.verification.artifact import Artifact
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.sampling import Sampling
from p2p.wire.frames import Declined, Done, Forward, Payload, pack_frame

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.connections.streams import Stream
    from p2p.peer.outbox import Outbox, Room

log = structlog.get_logger()

MAX_REASON = 300  # characters of a sentence that is signed or sent
# fields of errors that the client or an earlier executor caused
OTHERS_FAULT = ("prompt_tokens_max", "max_tokens", "prefix", "grammar", "messages", "prompt")


class PayloadStore(Protocol):
    """Where payloads wait for validators."""

    def put(self, key: bytes, value: bytes) -> None: ...
    def read(self, key: bytes) -> bytes | None: ...


@dataclass(slots=True)
class _Turn:
    """One request while this peer answers it."""

    telling: Telling
    assignment: Assignment
    ready: ReadyEngine
    engine: Engine  # that of `ready`, or a faulty one where a fault is planted
    admitted: Admitted
    work: Work  # what is remembered of it, for or against its agent
    rows: bool  # the client wants to see log-probabilities

    def agent_left(self) -> None:
        """The agent is why there are no more tokens."""
        self.work.left = True


@dataclass(slots=True)
class Executor:
    """One per peer. `serve` answers requests of clients, `answer` those of the sprint."""

    key: Key
    chain: Chain
    outbox: Outbox
    payloads: PayloadStore
    admission: Admission
    ready: ReadyEngine | None = None  # None until the ML node is there, and while it is gone
    load: Load = field(default_factory=Load)
    # (request, honest engine) -> the engine that answers it: the hook of the fault injector
    engine_for: Callable[[SignedRequest, Engine], Engine] = lambda signed, engine: engine
    metrics: Registry = field(default_factory=partial(Registry, PEER))
    closed: Callable[[], str] = lambda: ""  # why nothing new is taken (intake.py); empty: it is
    serving: int = 0  # calls of `serve` that run, also those that wait for a place
    # requests whose agent the chain knows to be the cause that they have no finish
    _excused: Once = field(default_factory=Once)

    @property
    def jobs(self) -> int:
        """Requests running now."""
        return self.admission.running

    async def serve(self, stream: Stream, forward: Forward) -> None:
        """Answer one Forward on `stream`, or decline it there. Raises FolkmootError for the caller to send as
        Failure."""
        began, outcome = trio.current_time(), "refused"
        self.serving += 1
        try:
            with about("executor", forward.signed_request.inference_id) as facts:
                passes(forward.signed_request.inference_id, "executor is asked")
                checked = self._check(stream.peer, forward)
                telling, outcome = Telling(stream, began), "failed"
                try:
                    await telling.at_work(partial(self._admit, telling, forward, checked))
                    outcome = "answered"
                except NotAdmitted as refusal:
                    outcome = "refused"
                    log.info("a request is declined", reason=refusal.reason)
                    await self._decline(stream, forward, refusal.reason)
                finally:
                    facts["outcome"] = outcome = "left" if telling.is_gone else outcome
        finally:
            self.serving -= 1
            self.metrics.add(SERVED, outcome)
            if outcome == "answered":
                self.metrics.observe(SERVE_S, trio.current_time() - began)

    async def _admit(self, telling: Telling, forward: Forward, checked: Checked) -> None:
        """Find a place, and answer there. Raises NotAdmitted, FolkmootError."""
        if said := self.closed():
            raise NotAdmitted(said)
        if await self.admission.wait_for_start(forward):
            checked = self._check(telling.stream.peer, forward)
        async with self.admission.admit(forward) as admitted:
            await self._serve(telling, forward, checked, admitted)

    async def _serve(self, telling: Telling, forward: Forward, checked: Checked, admitted: Admitted) -> None:
        """With a place held. Raises NotAdmitted, FolkmootError."""
        signed, (beacon, drawn, body) = forward.signed_request, checked
        spec = self.chain.reader.model(signed.request.model, signed.request.draw_height)
        assert spec is not None  # _check refused unknown models
        ready = await self.admission.engine_for(forward, spec, admitted.ready or self.ready)
        ends = spec.ends(ready.eos_ids)
        if wrong := wrong_beginning(forward, body.begun_tokens, spec, ends, drawn, self.key.public):
            self._busy_on_chain(admitted.room, forward, wrong)  # the agent may keep it to itself
            raise NotAdmitted(AGENT_CAUSED + wrong)
        telling.stream.paid()  # from here on the agent's quota counts tokens, no more the network the CPU time
        work = self.admission.credit.note(forward.agent, signed, self.chain.height())
        assignment = Assignment(signed, body, spec, beacon, drawn, unpack_ids(forward.prefix), forward.taken)
        engine = self.engine_for(signed, ready.engine)
        try:
            await self._run(_Turn(telling, assignment, ready, engine, admitted, work, forward.rows))
        except trio.Cancelled:  # with the connection: this peer cannot tell it from an agent that left
            work.left = True
            raise
        except FolkmootError as error:
            work.left = work.left or error.field == "agent"
            work.failed = not work.left
            if work.left or error.field in OTHERS_FAULT:
                self._busy_on_chain(admitted.room, forward, error.message)
            raise

    def _check(self, sender: str, forward: Forward) -> Checked:
        """Raises FolkmootError for a request that this peer must not answer, or already did:
        only one payload of a request is kept, so a second answer would be called a lie."""
        checked = check_forward(self.chain, self.key.public, sender, forward)
        inference_id = forward.signed_request.inference_id
        if self.admission.credit.was_begun(forward.agent, inference_id):
            raise RemoteProtocolError(
                "this peer began this request and it failed; ask another executor", field="inference_id", penalty=0
            )
        if self.admission.is_running(inference_id) or self.payloads.read(inference_id) is not None:
            raise RemoteProtocolError("this peer answers this request already, or did", field="inference_id", penalty=0)
        return checked

    async def _decline(self, stream: Stream, forward: Forward, reason: str) -> None:
        await stream.send(pack_frame(Declined(self.key.public, reason, self._signed_busy(forward, reason))))

    def _busy_on_chain(self, room: Room, forward: Forward, reason: str) -> None:
        """Once for each request, however often it comes: it excuses this peer, and speaks against no other executor."""
        if self._excused.first(forward.signed_request.inference_id):
            room.put(RecordKind.BUSY, self._signed_busy(forward, AGENT_CAUSED + reason))

    def _signed_busy(self, forward: Forward, reason: str) -> SignedBusy:
        record = BusyRecord(forward.signed_request.inference_id, self.key.public, reason[:MAX_REASON])
        return SignedBusy(record, self.key.sign(Domain.BUSY, forward.signed_request.request.network, encode(record)))

    async def _run(self, turn: _Turn) -> None:
        """From the prompt to Done. Tokens count against the agent's quota as they come, so an agent that breaks off has
        used them."""
        assignment, usage, signed = turn.assignment, turn.admitted.usage, turn.assignment.signed
        passes(signed.inference_id, "executor has a place")
        job, sampling = await trio.to_thread.run_sync(make_job, turn.ready, assignment)
        passes(signed.inference_id, "executor has the prompt's tokens")
        usage.used = len(job.prompt_tokens) + len(job.begun) + len(job.prefix)
        log.info("an answer is begun", prompt_tokens=len(job.prompt_tokens), **{EACH: True})
        steps = await prefix_steps(turn.engine, job, sampling)
        vocabulary = turn.ready.words().vocabulary
        before = (*job.begun, *job.prefix)
        showing = Showing(
            turn.telling, self.key, signed, TextStream(vocabulary, before), job.prefix, rows=turn.rows
        )
        stop = StopFinder(assignment.body.stop, before=vocabulary.text(before))

        async def take(step: TokenStep) -> bool:
            passes(signed.inference_id, "engine's first token")
            if not 0 <= step.token < assignment.spec.vocabulary:
                raise Unavailable(
                    f"the ML node names token {step.token}; {assignment.spec.model} has {assignment.spec.vocabulary}",
                    field="ml_node",
                )
            if self.chain.height() > signed.request.deadline_height:
                turn.agent_left()  # it reads so slowly, or asked so late
                late = "the deadline is past: nobody pays for more"
                raise RemoteProtocolError(late, field="deadline_height", penalty=0)
            if len(steps) == len(job.prefix):
                self.metrics.observe(FIRST, trio.current_time() - turn.telling.began)
            self.metrics.add(MADE)
            steps.append(replace(step, text=showing.text_of(step.token)))
            usage.used += 1
            stop.feed(steps[-1].text)
            await self._show(showing, steps[-1])
            if len(steps) % MAX_HELD_TOKENS == 0:
                await self.load.give_way()
            return stop.found is not None

        try:
            stopped = await until_stop(
                turn.telling.stream, signed.inference_id, turn.engine.generate(job), take, showing.flush_late,
                turn.agent_left,
            )
        except FolkmootError:
            # the next executor continues from all tokens there were, if the agent is still there
            with suppress(FolkmootError):
                await showing.flush()
            raise
        await showing.flush()
        if len(steps) == len(job.prefix):
            turn.agent_left()
            raise RemoteProtocolError("stopped before there was a token to sign for", field="stop")
        claimed = partial(self._claim, assignment, turn.ready, job, sampling, steps)
        plant = turn.engine is not turn.ready.engine
        finish, raw = await claimed(stopped=stopped, at_stop=stop.found is not None, plant=plant)
        turn.admitted.room.put(RecordKind.FINISH, finish)
        log.info("an answer is signed", tokens=len(steps), reason=finish.record.finish_reason.name, **{EACH: True})
        await turn.telling.send(Done(finish, raw, steps[-1].cached))

    async def answer(self, assignment: Assignment, ready: ReadyEngine | None = None) -> SignedFinish:
        """Make and keep an answer that no client waits for: it is neither streamed nor put on chain here. Raises
        Unavailable without a ready engine, or if that gives no tokens."""
        ready = ready or self.ready
        if ready is None or ready.text is None:
            raise Unavailable("the ML node is not ready, or its tokenizer.json is not on this machine", field="ml_node")
        engine = self.engine_for(assignment.signed, ready.engine)
        job, sampling = make_job(ready, assignment)  # the sprint's questions are short
        steps = [step async for step in engine.generate(job)]
        if not steps:
            raise Unavailable("the ML node gives no tokens", field="ml_node")
        return (await self._claim(assignment, ready, job, sampling, steps, plant=engine is not ready.engine))[0]

    async def _claim(
        self, assignment: Assignment, ready: ReadyEngine, job: Job, sampling: Sampling, steps: list[TokenStep], *,
        stopped: bool = False, at_stop: bool = False, plant: bool = False,
    ) -> tuple[SignedFinish, bytes]:
        """(signed finish, artifact) of what was generated; the payload is on disk when this returns. stopped: the agent
        asked for no more tokens. at_stop: the text has a stop string. plant: a fault is intended, so the answer is not
        checked."""
        request, inference_id, spec = assignment.signed.request, assignment.signed.inference_id, assignment.spec
        reason = FinishReason.STOPPED if stopped and len(steps) < request.max_tokens else FinishReason.LENGTH
        if steps and steps[-1].token in sampling.ends:
            reason = FinishReason.STOP
        elif at_stop:
            reason = FinishReason.STOP_STRING
        prompt = (*job.prompt_tokens, *job.begun)
        header = artifacts.header_for(
            request, inference_id, spec, job.seed, prompt, reason, stack=ready.stack, taken=assignment.taken
        )
        artifact = artifacts.build(header, steps)
        text = ready.words().vocabulary.text(artifact.tokens, job.begun)
        record = FinishRecord(
            inference_id, self.key.public, artifact.root(), artifact.output_hash(), len(prompt), len(steps), reason,
            str(ready.stack), text_hash(text), len(job.prefix),
        )
        if not plant:
            await self._check_own(artifact, record, assignment, sampling, ready)
        finish = SignedFinish(record, self.key.sign(Domain.FINISH, request.network, encode(record)))
        raw = artifact.to_bytes()
        # durable before it is claimed: a validator must be able to fetch what the root names
        await trio.to_thread.run_sync(
            self.payloads.put, bytes(inference_id), encode(Payload(encode(assignment.body), raw))
        )
        return finish, raw

    # -- what attacks replace (p2p/lab/attacks) -------------------------------------------------------------------

    async def _show(self, showing: Showing, step: TokenStep) -> None:
        """One token to the agent, and so to the client."""
        await showing.send(step, late=self.load.is_late)

    async def _check_own(
        self, artifact: Artifact, record: FinishRecord, assignment: Assignment, sampling: Sampling, ready: ReadyEngine
    ) -> None:
        """Raises Unavailable for an answer that stage 0 refutes, whatever the ML node did: it is not signed."""
        request, spec = assignment.signed.request, assignment.spec
        exact = partial(
            check.check_exact, artifact, request, record, spec, artifact.header.seed, ready.eos_ids,
            drawn=assignment.drawn, sampling=sampling
        )
        wrong = await trio.to_thread.run_sync(exact)
        if wrong is not None:
            raise Unavailable(
                f"this peer's own ML node gave an answer that every check refutes: {wrong}"[:MAX_REASON],
                field="ml_node"
            )
