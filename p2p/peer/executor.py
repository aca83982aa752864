"""Runs a drawn request on this peer's own ML node. Law: re-check everything first; sign only what was really generated.

Streams tokens to the agent, then signs a FinishRecord over all it claims and keeps the payload for validators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key, peer_id
from p2p.base.limits import (
    BEACON_MAX_AGE,
    HEIGHTS_APART,
    MAX_CANDIDATES,
    MAX_HELD_TOKENS,
    MAX_JOBS_PER_PEER,
)
from p2p.base.types import (
    AGENTS_DOING,
    BusyRecord,
    FinishReason,
    FinishRecord,
    RecordKind,
    SignedBusy,
    SignedFinish,
    SignedRequest,
    SignedStreamed,
    StackClass,
)
from p2p.base.weighted_draw import draw_executors
from p2p.inference.stack.model import check_tokenizer
from p2p.machine.load import Load
from p2p.peer.admission import Once, Places
from p2p.peer.agent_credit import Credit, Work
from p2p.peer.beginning import check_prompt, wrong_beginning
from p2p.peer.quotas import UNLIMITED, Bandwidth, Taken
from p2p.peer.showing import Showing
from p2p.peer.start_first import StartFirst
from p2p.peer.stoppable import until_stop
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.artifact import Artifact, Position
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.profile import family
from p2p.verification.statistics import LEAD, answer_facts
from p2p.verification.text import Vocabulary, text_hash
from p2p.wire.frames import Declined, Done, Forward, Payload, pack_frame

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.streams import Stream
    from p2p.peer.outbox import Outbox, Room


OTHERS_FAULT = ("prompt_tokens_max", "max_tokens", "prefix")  # the client's, or whoever streamed the beginning
PREFIX_DEFICIT = 1.0  # nats: kernels and stacks differ by a tenth; a token that loses the tape by more was never this model's


class PayloadStore(Protocol):
    """Where payloads wait for validators."""

    def put(self, key: bytes, value: bytes) -> None: ...
    def read(self, key: bytes) -> bytes | None: ...


@dataclass(slots=True)
class _Turn:
    """One request while it is worked on here: what is known of it, its share of the agent's quota, room for its records, what is remembered of it."""

    stream: Stream
    forward: Forward
    spec: ModelSpec
    beacon: bytes
    drawn: Sequence[bytes]
    taken: Taken
    room: Room
    work: Work

    def left(self) -> None:
        """Its agent is why there is no more."""
        self.work.left = True


@dataclass(slots=True)
class Executor:
    """One per peer. engine is None until the ML node is ready; stack is its class; places are those of its ML node. vocabulary: of the model,
    None where this peer has no tokenizer.json: then it can bind no text to its tokens, and serves nobody."""

    key: Key
    chain: Chain
    outbox: Outbox
    payloads: PayloadStore
    eos_ids: frozenset[int]
    engine: Engine | None = None
    vocabulary: Vocabulary | None = None
    places: Places = field(default_factory=partial(Places, MAX_JOBS_PER_PEER, "on the ML node", "executor"))
    stack: str = StackClass.CPU_BF16  # of the engine: what the artifact's header says
    tokenizer_hash: bytes | None = None  # of the model's folder, where it is known
    bandwidth: Bandwidth = field(default_factory=partial(Bandwidth, "agent", UNLIMITED))
    load: Load = field(default_factory=Load)
    credit: Credit = field(init=False)
    start_first: StartFirst = field(init=False)
    excused: Once = field(default_factory=Once)  # requests of which the chain has this peer's word that their agent is why it has no finish
    engine_for: Callable[[SignedRequest, Engine], Engine] = lambda signed, engine: engine  # where a planter comes in (p2p/peer/fault_injector.py)

    def __post_init__(self) -> None:
        self.credit = Credit(
            lambda signed: self.chain.reader.request_status(signed), lambda agent: self.chain.reader.has_weight(agent), self._starter,
        )
        self.start_first = StartFirst(self.chain, self.credit)

    def _starter(self, inference_id: bytes) -> bytes | None:
        draw = self.chain.reader.draw_of(inference_id)
        return draw.agent if draw is not None else None

    @property
    def jobs(self) -> int:
        """Requests running now."""
        return self.places.taken

    async def serve(self, stream: Stream, forward: Forward) -> None:
        """Answer one Forward on `stream`. Raises FolkmootError for the caller to send as Failure."""
        signed = forward.signed_request
        request = signed.request
        beacon, drawn = self._check(stream.peer, forward)
        if not self.start_first.goes_ahead(forward):
            if late := await self.start_first.wait(forward):
                await self._busy(stream, forward, AGENTS_DOING + late)
                return
            beacon, drawn = self._check(stream.peer, forward)  # once more, for time has passed
        with ExitStack() as held:
            try:  # before anything is awaited: else any number of requests would find the same place free
                held.enter_context(self.places.hold(signed.inference_id))
                most = request.prompt_tokens_max + request.max_tokens
                taken = held.enter_context(self.bandwidth.hold(forward.agent, most, self.chain.height()))
                room = held.enter_context(self.outbox.hold(2))  # of a finish and a Busy: an answer that is made is not lost
            except Overloaded as error:
                whose = AGENTS_DOING if error.field in (self.bandwidth.who, "max_tokens") else ""  # its quota
                await self._busy(stream, forward, whose + error.message)
                return
            spec = self.chain.reader.model(request.model, request.draw_height)
            assert spec is not None  # _check refused unknown models
            if unready := await self._unready(forward, spec):
                await self._busy(stream, forward, unready)
                return
            if wrong := wrong_beginning(forward, spec, spec.ends(self.eos_ids), drawn, self.key.public):
                self._busy_on_chain(room, forward, wrong)  # the agent may not wish to say it
                await self._busy(stream, forward, AGENTS_DOING + wrong)
                return
            assert self.engine is not None  # _unready
            work = self.credit.note(forward.agent, signed, self.chain.height())
            try:
                await self._run(_Turn(stream, forward, spec, beacon, drawn, taken, room, work), self.engine_for(signed, self.engine))
            except trio.Cancelled:  # with its connection, as far as this peer goes on
                work.left = True
                raise
            except FolkmootError as error:
                work.left = work.left or error.field == "agent"
                work.failed = not work.left
                if work.left or error.field in OTHERS_FAULT:  # seen only now: nobody shall be blamed that it is not finished
                    self._busy_on_chain(room, forward, error.message)
                raise

    async def _unready(self, forward: Forward, spec: ModelSpec) -> str:
        """Why nothing can be served now; empty where it can."""
        if self.engine is None:
            return "loading"
        if not await self.engine.health():
            return "the ML node does not answer"
        if unfit := self._unfit(spec) or self.chain.reader.stack_problem(self.key.public, spec.model, str(self.stack)):
            return unfit
        if problem := self.credit.problem(forward.agent, forward.signed_request.request.account, self.chain.height()):
            return AGENTS_DOING + problem
        return ""

    def _unfit(self, spec: ModelSpec) -> str:
        """Why this ML node may not serve the model as the registry describes it; empty where it may. Validators would refuse its answers."""
        if spec.stacks and family(self.stack) not in spec.stacks:
            return f"{spec.model} may not be served on {family(self.stack)}"
        if self.vocabulary is None:
            return "no tokenizer.json here: the text of an answer could not be signed for"
        if self.tokenizer_hash is None:  # an ML node by URL: its files are not here
            return ""
        try:
            check_tokenizer(self.tokenizer_hash, spec)
        except ConfigError as error:
            return error.message
        return ""

    def _check(self, peer: str, forward: Forward) -> tuple[bytes, tuple[bytes, ...]]:
        """The beacon of the draw, and who was drawn. No penalty where the agent may know more or less of the chain than this peer, or its client
        asked another agent as well."""
        signed = forward.signed_request
        request = signed.request
        if peer_id(forward.agent) != peer:
            raise RemoteProtocolError("the stream belongs to another peer than the agent named", field="agent")
        if not self.chain.reader.may_start(forward.agent):
            raise RemoteProtocolError(
                "it cannot put a Start on chain: only participants may be agents; ask one of them", field="agent", penalty=0
            )
        if not request.may_be_started_by(forward.agent):
            raise RemoteProtocolError("the client asked another agent", field="agent")
        beacon, drawn = self._draw(forward)
        self.chain.reservations.check_forwarded(signed)
        check_prompt(forward.prompt, request.prompt_hash)
        if self.key.public not in drawn:
            raise RemoteProtocolError("this peer was not drawn for this request", field="executor")
        if self.credit.was_begun(forward.agent, signed.inference_id):
            raise RemoteProtocolError("this request was begun here and came to nothing", field="inference_id", penalty=0)
        if signed.inference_id in self.places or self.payloads.read(signed.inference_id) is not None:
            # two answers to one request: one of the two would be called a lie, for only one payload is kept
            raise RemoteProtocolError("this request is being answered here, or was", field="inference_id", penalty=0)
        return beacon, drawn

    def _draw(self, forward: Forward) -> tuple[bytes, tuple[bytes, ...]]:
        """(beacon, who was drawn). A draw on chain holds until the deadline, so that the next executor can take over however long the one
        before was silent; one that is not there yet must be of a height from which a Start still comes in time."""
        signed, height = forward.signed_request, forward.signed_request.request.draw_height
        known = self.chain.reader.draw_of(signed.inference_id)
        if known is not None:
            if known.agent != forward.agent:
                raise RemoteProtocolError("the chain has this request from another agent", field="agent", penalty=0)
            return known.beacon, known.candidates
        # the agent may be a few blocks ahead: one height more than ours is still honest, its beacon is just unknown here
        beacon = self.chain.reader.beacon_at(height)
        if beacon is None:
            raise Unavailable(f"height {height} is not here yet", field="draw_height")
        if height + BEACON_MAX_AGE + HEIGHTS_APART < self.chain.height():
            raise RemoteProtocolError("the draw's beacon is too old", field="draw_height", penalty=0)
        serving = self.chain.reader.serving_at(signed.request.model, height)
        return beacon, draw_executors(beacon, signed.inference_id, serving, forward.agent, MAX_CANDIDATES)

    async def _busy(self, stream: Stream, forward: Forward, reason: str) -> None:
        await stream.send(pack_frame(Declined(self.key.public, reason, self._signed_busy(forward, reason))))

    def _busy_on_chain(self, room: Room, forward: Forward, reason: str) -> None:
        """Once for each request, however often it comes: what the agent caused excuses this peer, and speaks against none of the others."""
        if self.excused.first(forward.signed_request.inference_id):
            room.put(RecordKind.BUSY, self._signed_busy(forward, AGENTS_DOING + reason))

    def _signed_busy(self, forward: Forward, reason: str) -> SignedBusy:
        record = BusyRecord(forward.signed_request.inference_id, self.key.public, reason[:300])
        return SignedBusy(record, self.key.sign(Domain.BUSY, forward.signed_request.request.network, encode(record)))

    async def _run(self, turn: _Turn, engine: Engine) -> None:
        """From the prompt to Done; what it takes is counted as it goes, so that an agent which breaks off has had it."""
        signed, spec, taken, vocabulary = turn.forward.signed_request, turn.spec, turn.taken, self.vocabulary
        assert vocabulary is not None  # _unready
        job = await self._job(engine, signed, turn.forward.prompt, spec, turn.beacon, tuple(turn.forward.prefix))
        taken.used = len(job.prompt_tokens) + len(job.prefix)
        steps = await self._prefix_steps(engine, job)
        showing = Showing(turn.stream, self.key, signed, vocabulary, job.prefix)

        async def take(step: TokenStep) -> None:
            if not 0 <= step.token < spec.vocabulary:
                raise Unavailable(f"the ML node names token {step.token}; {spec.model} has {spec.vocabulary}", field="ml_node")
            if self.chain.height() > signed.request.deadline_height:
                turn.left()  # it reads so slowly, or came so late
                raise RemoteProtocolError("the deadline is past: nobody pays for more", field="deadline_height", penalty=0)
            steps.append(replace(step, text=showing.text_of(step.token)))
            taken.used += 1
            await self._show(showing, steps[-1])
            if len(steps) % MAX_HELD_TOKENS == 0:
                await self.load.give_way()

        try:
            stopped = await until_stop(turn.stream, signed.inference_id, engine.generate(job), take, showing.flush_late, turn.left)
        except FolkmootError:
            with suppress(FolkmootError):  # an engine that died: whoever takes over goes on from all that there was; else nobody reads it
                await showing.flush()
            raise
        await showing.flush()
        if len(steps) == len(job.prefix):
            turn.left()
            raise RemoteProtocolError("stopped before there was a token to sign for", field="stop")
        finish, raw = await self._claim(
            signed, turn.forward.prompt, spec, job, steps, stopped=stopped, taken=turn.forward.taken, drawn=turn.drawn,
            plant=engine is not self.engine,
        )
        turn.room.put(RecordKind.FINISH, finish)
        await turn.stream.send(pack_frame(Done(finish, raw)))

    async def answer(self, signed: SignedRequest, prompt: str, spec: ModelSpec, beacon: bytes) -> SignedFinish:
        """An answer that nobody waits for (a sprint's): made and kept as one for a client is, but neither shown nor put on chain. Raises
        Unavailable without an engine that gives one."""
        if self.engine is None or self.vocabulary is None:
            raise Unavailable("the ML node is not ready, or its tokenizer.json is not here", field="ml_node")
        engine = self.engine_for(signed, self.engine)
        job = await self._job(engine, signed, prompt, spec, beacon)
        steps = [step async for step in engine.generate(job)]
        if not steps:
            raise Unavailable("the ML node gives no tokens", field="ml_node")
        return (await self._claim(signed, prompt, spec, job, steps, plant=engine is not self.engine))[0]

    async def _job(
        self, engine: Engine, signed: SignedRequest, prompt: str, spec: ModelSpec, beacon: bytes, prefix: tuple[int, ...] = ()
    ) -> Job:
        request = signed.request
        prompt_tokens = await engine.tokenize_chat(prompt)
        if len(prompt_tokens) > request.prompt_tokens_max:
            raise InvalidRequest(
                f"the prompt has {len(prompt_tokens)} tokens, the request allows {request.prompt_tokens_max}", field="prompt_tokens_max"
            )
        if len(prompt_tokens) + request.max_tokens > spec.context_tokens:
            raise InvalidRequest(f"prompt and max_tokens exceed the context of {spec.context_tokens} tokens", field="max_tokens")
        seed = tape.tape_seed(beacon, signed.inference_id, request.client_nonce)
        return Job(prompt_tokens, request.max_tokens, request.params, seed, prefix)

    async def _show(self, showing: Showing, step: TokenStep) -> None:
        """One token to the agent, and so to the client. Attacks of p2p/attacks replace this."""
        await showing.send(step, late=self.load.is_late)

    async def _prefix_steps(self, engine: Engine, job: Job) -> list[TokenStep]:
        """What another executor already streamed, as this engine scores it: it becomes part of our claim."""
        if not job.prefix:
            return []
        rows = await engine.score(job.prompt_tokens, job.prefix, 32)
        steps = []
        for token, row in zip(job.prefix, rows, strict=True):
            best = sorted(row.items(), key=lambda item: (-item[1], item[0]))[:8]
            steps.append(TokenStep(token, "", row[token], tuple(best)))
        positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
        if answer_facts(positions, rows, job.params, job.seed)[:, LEAD].min() < -PREFIX_DEFICIT:
            raise Unavailable("what was streamed so far is not this model's; signing for it would be a lie", field="prefix")
        return steps

    async def _claim(
        self, signed: SignedRequest, prompt: str, spec: ModelSpec, job: Job, steps: list[TokenStep], *, stopped: bool = False,
        taken: tuple[SignedStreamed, ...] = (), drawn: Sequence[bytes] = (), plant: bool = False,
    ) -> tuple[SignedFinish, bytes]:
        """(signed finish, artifact) of what was generated; the payload is on disk when this returns. stopped: the agent asked for no more.
        plant: a fault is meant."""
        request, inference_id = signed.request, signed.inference_id
        assert self.vocabulary is not None  # whoever calls has looked
        reason = FinishReason.STOPPED if stopped and len(steps) < request.max_tokens else FinishReason.LENGTH
        if steps and steps[-1].token in spec.ends(self.eos_ids):
            reason = FinishReason.STOP
        header = artifacts.header_for(
            request, inference_id, spec, job.seed, job.prompt_tokens, reason, stack=self.stack, taken=taken
        )
        artifact = artifacts.build(header, steps)
        record = FinishRecord(
            inference_id, self.key.public, artifact.root(), artifact.output_hash(), len(job.prompt_tokens), len(steps), reason,
            str(self.stack), text_hash(self.vocabulary.text(artifact.tokens)), len(job.prefix),
        )
        if not plant:
            await self._look(artifact, signed, record, spec, job.seed, drawn)
        finish = SignedFinish(record, self.key.sign(Domain.FINISH, request.network, encode(record)))
        raw = artifact.to_bytes()
        # durable before it is claimed: a validator must be able to fetch what the root names
        await trio.to_thread.run_sync(self.payloads.put, bytes(inference_id), encode(Payload(prompt, raw)))
        return finish, raw

    async def _look(
        self, artifact: Artifact, signed: SignedRequest, record: FinishRecord, spec: ModelSpec, seed: bytes, drawn: Sequence[bytes]
    ) -> None:
        """Raises Unavailable for an answer that stage 0 refutes, whatever the ML node did: it is not signed. Cheats replace this."""
        exact = partial(check.check_exact, artifact, signed.request, record, spec, seed, self.eos_ids, drawn=drawn)
        wrong = await trio.to_thread.run_sync(exact)
        if wrong is not None:
            raise Unavailable(f"this peer's own ML node gave what every check refutes: {wrong}"[:300], field="ml_node")
