"""The executor against agents and ML nodes that are not honest: no more places than there are, nothing signed that
could be held against it, and an answer that continues where another executor died, on streams in memory with the toy
model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace as changed

from p2p.base.body import one_message
from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Domain, Key, digest, verify
from p2p.base.limits import MAX_WORK_RECORDS
from p2p.base.serving_limits import MAX_HELD_TOKENS, MAX_JOBS_PER_PEER
from p2p.base.token_ids import pack_ids
from p2p.base.types import VERSION, FinishReason, Params, RecordKind, Request, SignedRequest, SignedStreamed
from p2p.chain.views.inferences import Draw
from p2p.lab.attacks import get
from p2p.machine.load import Load
from p2p.peer.admission import Admission
from p2p.peer.agent import Agent, _Session
from p2p.peer.client_stream import Reader
from p2p.peer.executor import Executor
from p2p.peer.outbox import Outbox, Room
from p2p.peer.quotas import Usage
from p2p.peer.telling import Telling
from p2p.text.vocabulary import TextStream, Vocabulary, text_hash
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Accepted, Ask, Declined, Done, Forward, Payload, Tokens, parse_frame
from testnet.simulated_engine import EOS, VOCAB
from tests.lab.attacks.engine import ToyEngine
from tests.peer.ready import ToyText, ready
from tests.peer.scenarios.test_stop import pipe
from tests.verification.toy import SPEC, WORDS

AGENT, FIRST, SECOND, THIRD, CLIENT = (Key(bytes([i]) * 32) for i in range(0x41, 0x46))
DRAWN = (FIRST.public, SECOND.public, THIRD.public)
BEACON, PROMPT = b"\x0a" * 32, "hello"


def request(nonce: int = 1, tokens: int = 12) -> SignedRequest:
    asked = one_message(PROMPT).hash
    body = Request(
        VERSION, "n", CLIENT.public, nonce, "toy", asked, Params(1000), 50, tokens, 100, 40, CLIENT.public, 5
    )
    return SignedRequest(body, CLIENT.sign(Domain.REQUEST, "n", encode(body)))


@dataclass
class FakeChain:
    """Everything was drawn as DRAWN; payloads are kept."""

    kept: dict[bytes, bytes] = field(default_factory=dict)
    reader = reservations = payloads = property(lambda self: self)

    def height(self) -> int:
        return 5

    def model(self, model: str, height: int) -> Any:
        return SPEC

    def request_status(self, signed: SignedRequest) -> str:
        return ""

    def has_weight(self, agent: bytes) -> bool:
        return True

    def may_start(self, agent: bytes) -> bool:
        return True

    def draw_of(self, inference_id: bytes) -> Draw:
        return Draw(AGENT.public, 5, BEACON, DRAWN)

    def check_forwarded(self, signed: SignedRequest) -> None: ...

    def stack_problem(self, node: bytes, model: str, stack: str) -> str:
        return ""

    def put(self, key: bytes, raw: bytes) -> None:
        self.kept[key] = raw

    def read(self, key: bytes) -> bytes | None:
        return self.kept.get(bytes(key))


def executor(
    key: Key = SECOND, engine: Engine | None = None, vocabulary: Vocabulary = WORDS, make: type[Executor] = Executor
) -> Executor:
    chain: Any = FakeChain()
    outbox = Outbox(key, "n")
    admission = Admission(key.public, chain, outbox)
    return make(key, chain, outbox, chain, admission, ready(engine or ToyEngine(), vocabulary))


def forward(signed: SignedRequest, prefix: Sequence[int] = (), taken: tuple[SignedStreamed, ...] = ()) -> Forward:
    return Forward(VERSION, signed, encode(one_message(PROMPT)), AGENT.public, pack_ids(prefix), taken)


def word(signed: SignedRequest, tokens: Sequence[int], key: Key = FIRST) -> tuple[SignedStreamed, ...]:
    """`key` has streamed `tokens`, it says."""
    return (sign_streamed(key, "n", signed.inference_id, 0, len(tokens), chain_after(signed.inference_id, tokens)),)


async def served(who: Executor, frame: Forward) -> tuple[list[Any], FolkmootError | None]:
    """The frames that the agent gets, and the error that would be sent as a Failure."""
    mine, theirs = pipe()
    mine.peer, error = AGENT.peer_id, None
    with trio.fail_after(60):
        try:
            await who.serve(mine, frame)
        except FolkmootError as raised:
            error = raised
    await mine.close()
    frames = []
    while True:
        try:
            frames.append(parse_frame(await theirs.receive()))
        except Unavailable:
            return frames, error


def said(who: Executor) -> list[RecordKind]:
    """Records on their way to the chain."""
    return [record.kind for record in who.outbox._waiting]  # type: ignore[attr-defined]


def exact(who: Executor, signed: SignedRequest, done: Done) -> str | None:
    seed = tape.tape_seed(BEACON, signed.inference_id, signed.request.client_nonce)
    return check.check_exact(
        artifacts.parse(done.artifact), signed.request, done.finish.record, SPEC, seed, frozenset({EOS}), drawn=DRAWN
    )


async def whole(signed: SignedRequest) -> list[int]:
    seed = tape.tape_seed(BEACON, signed.inference_id, signed.request.client_nonce)
    prompt = ToyText().prompt(one_message(PROMPT))
    return [step.token async for step in ToyEngine().generate(
        Job(prompt, signed.request.max_tokens, signed.request.params, seed)
    )]


# -- places ----------------------------------------------------------------------------------------------------------


class Slow(ToyEngine):
    """Its health is known when `well` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.well, self.running, self.most = trio.Event(), 0, 0

    async def health(self) -> bool:
        await self.well.wait()
        return True

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.testing.wait_all_tasks_blocked()
            async for step in super().generate(job):
                yield step
        finally:
            self.running -= 1


async def test_any_number_of_forwards_at_once_get_no_more_places_than_there_are() -> None:
    """An await between the look and the count let sixty through where sixteen fit."""
    engine = Slow()
    who, results = executor(engine=engine), []

    async def one(number: int) -> None:
        results.append(await served(who, forward(request(number, 3))))

    async with trio.open_nursery() as nursery:
        for number in range(1, 61):
            nursery.start_soon(one, number)
        await trio.testing.wait_all_tasks_blocked()
        assert who.jobs == MAX_JOBS_PER_PEER
        engine.well.set()
    assert engine.most <= MAX_JOBS_PER_PEER
    assert who.jobs == 0
    ends = [frames[-1] for frames, _ in results]
    assert sum(isinstance(end, Done) for end in ends) == MAX_JOBS_PER_PEER
    refused = [end for end in ends if isinstance(end, Declined)]
    assert len(refused) == 60 - MAX_JOBS_PER_PEER
    assert all(end.busy is not None and "places" in end.reason for end in refused), "and it says so under its signature"


async def test_one_request_has_one_answer_however_often_it_is_handed_over() -> None:
    """Only one payload is kept: the finish record of the other answer would be called a lie."""
    engine, signed = Slow(), request()
    who, results = executor(engine=engine), []

    async def one() -> None:
        results.append(await served(who, forward(signed)))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        engine.well.set()
    done = [frames[-1] for frames, _ in results if frames]
    errors = [error for _, error in results if error is not None]
    assert len(done) == 1
    assert [error.field for error in errors] == ["inference_id"] * 2
    _, later = await served(who, forward(signed))
    assert isinstance(later, RemoteProtocolError), "nor later, nor after a restart"
    assert {
        error.penalty for error in (*errors, later) if isinstance(error, RemoteProtocolError)
    } == {0}, "its client may have asked two agents"
    kept = unpack(Payload, who.payloads.read(signed.inference_id) or b"")
    assert artifacts.parse(kept.artifact).root() == done[0].finish.record.artifact_root


async def test_checks_are_metered_and_only_the_answer_is_not() -> None:
    """Whoever sends Forwards that are refused paid nothing for their signatures: the network was told before that they
    are paid for."""
    who, paid = executor(), list[bool]()

    async def one(signed: SignedRequest) -> FolkmootError | None:
        mine, _ = pipe()
        mine.peer, mine.paid = AGENT.peer_id, lambda: paid.append(bool(who.jobs))
        try:
            await who.serve(mine, forward(signed))
        except FolkmootError as error:
            return error
        return None

    def refuse(signed: SignedRequest, *, started_ok: bool = False) -> None:
        raise RemoteProtocolError("not signed", field="signature")

    good = who.chain.reservations.check_forwarded
    who.chain.reservations.check_forwarded = refuse  # type: ignore[method-assign]
    assert await one(request(1)) is not None
    who.chain.reservations.check_forwarded = good  # type: ignore[method-assign]
    who.admission.places.most = 0
    assert await one(request(2)) is None
    assert paid == [], "neither refused nor declined ones"
    who.admission.places.most = 1
    assert await one(request(3)) is None
    assert paid == [True]


# -- what is taken over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", [
    "the whole answer", "its end inside", "an id that the model has not", "unsigned", "signed by who comes later",
    "signed by itself",
    "by a stranger", "more than was signed", "signed tokens are others", "words but no tokens",
])
async def test_an_agent_puts_no_words_into_an_answer(lie: str) -> None:
    """The executor signed on and stage 0 refuted it: whoever framed it had only to be its agent. Now it refuses, and no
    miss is counted."""
    signed = request()
    true = await whole(signed)
    prefix: list[int] = {
        "the whole answer": true, "its end inside": [*true[:3], EOS, *true[3:5]],
        "an id that the model has not": [*true[:3], VOCAB],
        "words but no tokens": [],
    }.get(lie, true[:5])
    taken = word(signed, prefix or true[:5])
    taken = {
        "unsigned": (), "signed by who comes later": word(signed, prefix, THIRD),
        "signed by itself": word(signed, prefix, SECOND),
        "by a stranger": word(signed, prefix, CLIENT), "more than was signed": word(signed, prefix[:4]),
        "signed tokens are others": word(signed, [*prefix[:-1], 7]),
    }.get(lie, taken)
    who = executor()
    frames, error = await served(who, forward(signed, prefix, taken))
    assert error is None
    assert [type(frame) for frame in frames] == [Declined]
    busy = frames[0].busy
    assert verify(SECOND.public, Domain.BUSY, "n", encode(busy.record), busy.signature)
    assert said(who) == [
        RecordKind.BUSY
    ], "the chain hears it from the executor itself: the agent may not wish to say it"
    assert not who.payloads.kept  # type: ignore[attr-defined]


async def test_what_no_model_of_this_name_says_is_not_gone_on_from_and_nobody_is_blamed() -> None:
    signed = request()
    true = await whole(signed)
    far = next(int(token) for token in ToyEngine().toy.logprobs([1, *true[:4]]).argsort() if token != EOS)
    prefix = [*true[:4], far]
    who = executor()
    _, error = await served(who, forward(signed, prefix, word(signed, prefix)))
    assert isinstance(error, Unavailable)
    assert error.field == "prefix"
    assert said(who) == [RecordKind.BUSY]


CHILI = "\U0001f336".encode()
# tokens that are parts of characters
CUT = Vocabulary(tuple(b"" if token == EOS else CHILI[token % 4 : token % 4 + 1] for token in range(VOCAB)))
BYTES = Vocabulary(tuple(CHILI[at % 4 : at % 4 + 1] for at in range(VOCAB)))


class Dies(ToyEngine):
    """After so many tokens."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        left = self.after
        async for step in super().generate(job):
            if not left:
                raise Unavailable("the ML node died", field="ml_node")
            left -= 1
            yield step


async def through_agent(signed: SignedRequest, executors: dict[str, Executor], make: type[Agent] = Agent) -> list[Any]:
    """What the client gets."""
    client, at_client = pipe()
    chain: Any = FakeChain()
    async with trio.open_nursery() as nursery:

        async def run(who: Executor, stream: Any, agent_end: Any) -> None:
            frame = parse_frame(await stream.receive())
            assert isinstance(frame, Forward)
            stream.peer = AGENT.peer_id
            try:
                await who.serve(stream, frame)
            except FolkmootError:
                await stream.close()

        async def open_stream(peer: str, protocol: str) -> Any:
            mine, theirs = pipe()
            nursery.start_soon(run, executors[peer], theirs, mine)
            return mine

        agent = make(AGENT, chain, Outbox(AGENT, "n"), open_stream, 30.0, 30.0)
        asked = Ask(VERSION, signed, encode(one_message(PROMPT)))
        session = _Session(asked, Reader(Telling(client)), Usage(b"", 5, 1000), Room(agent.outbox, 0))
        failed: FolkmootError | None = None
        with trio.fail_after(60):
            try:
                await agent._execute(session, DRAWN)
            except FolkmootError as error:
                failed = error
    if failed is not None:
        raise failed
    await client.close()
    frames = []
    while True:
        try:
            frames.append(parse_frame(await at_client.receive()))
        except Unavailable:
            return frames


@pytest.mark.parametrize("vocabulary", [CUT, BYTES, WORDS], ids=["parts", "bytes", "words"])
@pytest.mark.parametrize("cuts", [(1, 1), (3, 2), (5, 6), (11, 1), (2, 0)])
async def test_an_answer_goes_on_where_its_executors_died_to_the_byte(
    cuts: tuple[int, int], vocabulary: Vocabulary
) -> None:
    """The successor repeated prompt and answer where the one before had died inside a character."""
    signed = request(tokens=16)
    true = await whole(signed)
    engines = {FIRST: Dies(cuts[0]), SECOND: Dies(cuts[1]), THIRD: ToyEngine()}
    by_peer = {key.peer_id: executor(key, engine, vocabulary) for key, engine in engines.items()}
    frames = await through_agent(signed, by_peer)
    tokens = [token for frame in frames if isinstance(frame, Tokens) for token in frame.tokens]
    text = "".join(frame.text for frame in frames if isinstance(frame, Tokens))
    done = frames[-1]
    assert isinstance(done, Done)
    assert tokens == true
    record = done.finish.record
    assert text == vocabulary.text(true)
    assert record.text_hash == text_hash(text)
    assert (record.executor, record.taken_over, record.generated) == (THIRD.public, sum(cuts), len(true) - sum(cuts))
    assert exact(by_peer[THIRD.peer_id], signed, done) is None
    header = artifacts.parse(done.artifact).header
    assert [
        one.record.executor for one in header.taken
    ] == [key.public for key, cut in zip((FIRST, SECOND), cuts, strict=True) if cut]
    problems = receipt(signed, done, tokens, text)
    assert problems == []
    assert receipt(signed, done, tokens, text + "\x1b[2J") == ["the text that was shown is not the one signed for"]


def receipt(signed: SignedRequest, done: Done, tokens: list[int], text: str) -> list[str]:
    from p2p.client.receipt import check_receipt

    accepted = Accepted(signed.inference_id, AGENT.public, BEACON, DRAWN)
    return check_receipt(AGENT.public, signed, accepted, done, tokens, text)


async def test_a_text_beside_true_tokens_is_refused_by_the_agent() -> None:
    liar = get("serve_other_text").executor
    assert liar is not None
    signed = request()
    keys = (FIRST, SECOND, THIRD)
    by_peer = {key.peer_id: executor(key, make=cast(Any, liar) if key is FIRST else Executor) for key in keys}
    with pytest.raises(Unavailable):
        await through_agent(signed, by_peer)  # the answer is whole and its text a lie: no executor can continue it


async def test_an_agent_that_hands_on_a_whole_answer_frames_nobody() -> None:
    """eos_prefix: an executor that gets a whole answer as a beginning says so; only the one that made it signs it."""
    framer = get("eos_prefix").agent
    assert framer is not None
    toy = ToyEngine()
    for tokens in (12, 400):  # by its length, by its end
        signed = request(tokens=tokens)
        by_peer = {key.peer_id: executor(key, toy) for key in (FIRST, SECOND, THIRD)}
        with pytest.raises(Unavailable):
            await through_agent(signed, by_peer, framer)  # type: ignore[arg-type]
        assert [
            said(by_peer[key.peer_id]) for key in (FIRST, SECOND, THIRD)
        ] == [[RecordKind.FINISH], [RecordKind.BUSY], [RecordKind.BUSY]]


async def test_whoever_says_that_others_streamed_its_tokens_has_to_show_it() -> None:
    """free_claim_taken_over: launders, and hides all tokens but the last behind another's name."""
    attack = get("free_claim_taken_over")
    assert attack.executor is not None
    signed = request()
    liar = executor(engine=attack.wrap(ToyEngine(2), ToyEngine()), make=attack.executor)  # type: ignore[arg-type]
    frames, error = await served(liar, forward(signed))
    assert error is None
    done = frames[-1]
    assert done.finish.record.taken_over == 11
    assert exact(liar, signed, done) == "what was taken over is not signed by whoever streamed it"
    assert "what was taken over is not signed by whoever streamed it" in receipt(
        signed, done, [token for frame in frames[:-1] for token in frame.tokens],
        "".join(frame.text for frame in frames[:-1])
    )


# -- what its own ML node does ---------------------------------------------------------------------------------------


class Bad(ToyEngine):
    """Something is wrong with every step."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        wrong = {
            "an id beyond the vocabulary": lambda s: replace(s, token=VOCAB),
            "a negative id": lambda s: replace(s, token=-1),
            "a candidate beyond": lambda s: replace(s, top=(*s.top[:7], (VOCAB, s.top[7][1]))),
            "one candidate": lambda s: replace(s, top=s.top[:1]),
            "candidates twice": lambda s: replace(s, top=s.top[:4] * 2),
            "no order": lambda s: replace(s, top=s.top[::-1]),
            "numbers that do not fit": lambda s: replace(s, logprob=0.0),
        }
        seed = digest(b"no tape") if self.what == "no tape" else job.seed
        async for step in super().generate(replace(job, seed=seed)):
            yield wrong[self.what](step) if self.what in wrong else step


@pytest.mark.parametrize("what", [
    "an id beyond the vocabulary", "a negative id", "a candidate beyond", "one candidate", "candidates twice",
    "no order",
    "numbers that do not fit", "no tape",
])
async def test_nothing_is_signed_that_stage_0_would_refuse(what: str) -> None:
    """A server without the tape, or a broken one: its host is not convicted for it, it has no answer."""
    who = executor(engine=Bad(what))
    frames, error = await served(who, forward(request()))
    assert isinstance(error, Unavailable)
    assert error.field in ("ml_node", "token")
    assert not any(isinstance(frame, Done) for frame in frames)
    assert not who.payloads.kept  # type: ignore[attr-defined]
    assert RecordKind.FINISH not in said(who)


async def test_an_honest_answer_is_signed_frame_by_frame_and_as_a_whole() -> None:
    signed = request()
    who = executor()
    frames, error = await served(who, forward(signed))
    assert error is None
    done, stream, chain = frames[-1], TextStream(WORDS), bytes(signed.inference_id)
    shown = 0
    for frame in frames[:-1]:
        assert frame.position == shown
        shown += len(frame.tokens)
        chain = chain_after(chain, frame.tokens)
        assert frame.text == "".join(stream.add(token) for token in frame.tokens)
        streamed = changed(word(signed, [1])[0].record, executor=SECOND.public, tokens=shown, chain=chain)
        assert verify(SECOND.public, Domain.STREAMED, "n", encode(streamed), frame.signature)
    assert exact(who, signed, done) is None
    assert done.finish.record.finish_reason is FinishReason.LENGTH
    assert said(who) == [RecordKind.FINISH]


async def test_a_full_outbox_refuses_before_the_work_and_loses_no_answer() -> None:
    """The answer was made, streamed and kept; its finish was refused, and so was every later Forward."""
    who, signed = executor(), request()
    with who.outbox.hold(MAX_WORK_RECORDS - 1):
        frames, error = await served(who, forward(signed))
        assert error is None
        assert [type(frame) for frame in frames] == [Declined]
        assert not who.payloads.kept  # type: ignore[attr-defined]
    engine = Slow()
    who = executor(engine=engine)
    async with trio.open_nursery() as nursery:

        async def fill() -> None:
            await trio.testing.wait_all_tasks_blocked()
            while who.outbox.offer(RecordKind.BUSY, signed):
                pass
            engine.well.set()

        nursery.start_soon(fill)
        frames, error = await served(who, forward(signed))
    assert error is None
    assert isinstance(frames[-1], Done)
    assert said(who)[-1] is RecordKind.FINISH


async def test_an_agent_that_the_client_did_not_name_is_refused_and_blamed() -> None:
    body = changed(request().request, agent=THIRD.public)
    signed = SignedRequest(body, CLIENT.sign(Domain.REQUEST, "n", encode(body)))
    frames, error = await served(executor(), forward(signed))
    assert frames == []
    assert isinstance(error, RemoteProtocolError)
    assert (error.field, error.penalty > 0) == ("agent", True)
    mine = changed(body, agent=AGENT.public)
    frames, error = await served(
        executor(), forward(SignedRequest(mine, CLIENT.sign(Domain.REQUEST, "n", encode(mine))))
    )
    assert (error, isinstance(frames[-1], Done)) == (None, True)


class AlwaysLate(Load):
    """As on a machine that other programs fill."""

    def __init__(self) -> None:
        super().__init__(late_s=10.0)
        self.waits = 0

    async def give_way(self, most_s: float = 0.0) -> None:
        self.waits += 1


async def test_a_peer_that_is_always_late_gives_way_once_for_many_tokens() -> None:
    """Half a second for each token would have made every answer of such a peer slower than anybody waits for."""
    who, tokens = executor(), 3 * MAX_HELD_TOKENS
    who.load = late = AlwaysLate()
    frames, error = await served(who, forward(request(tokens=tokens)))
    assert error is None
    made = frames[-1].finish.record.output_tokens
    assert late.waits == made // MAX_HELD_TOKENS
    assert late.waits >= 1
    assert sum(isinstance(frame, Tokens) for frame in frames) <= made // 2, "and signs once for many"
