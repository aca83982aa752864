"""The validator's shell: durable before it is said, the same word after a restart, revealed only when it is time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
from msgspec import structs

from p2p.base.body import one_message
from p2p.base.codec import encode, unpack
from p2p.base.errors import InvalidRequest, Overloaded, Unavailable
from p2p.base.genesis import CheckRules, ModelSpec
from p2p.base.keys import Key, NetworkId
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    InferenceId,
    Params,
    RecordKind,
    Request,
    SignedBatch,
    StackClass,
    Verdict,
    VerdictCommit,
    VerdictKind,
    verdict_commitment,
)
from p2p.chain.views.inferences import Claim, Duty, Owed
from p2p.machine.load import Load
from p2p.peer import validator
from p2p.peer.outbox import Outbox
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.validator import CHECK_HEIGHT_S, Validator, next_ranks
from p2p.text.vocabulary import text_hash
from p2p.verification import artifact as artifacts
from p2p.verification import tape
from p2p.verification.duty import reveal_positions
from p2p.verification.profile import Profile
from p2p.wire.frames import Payload, PayloadWanted, pack_frame, parse_frame
from testnet.simulated_engine import Toy
from tests.peer.ready import ready
from tests.verification import toy
from tests.verification.toy import generate, rows

KEY = Key(b"\x31" * 32)
IID = InferenceId(b"\x09" * 32)
BEACON, PROMPT = b"\x0a" * 32, "hi"
TOKENS = (1, 50, 60)
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048)


@dataclass
class FakeChain:
    duties: list[Duty] = field(default_factory=list)
    unfinished: list[Owed] = field(default_factory=list)
    kept: dict[bytes, bytes] = field(default_factory=dict)
    found: Claim | None = None
    rules: CheckRules = field(default_factory=CheckRules)
    top: int = 8
    reader = payloads = property(lambda self: self)

    def pending_duties(self, node: bytes) -> list[Duty]:
        assert node == KEY.public
        return self.duties

    def owed(self, node: bytes) -> list[Owed]:
        assert node == KEY.public
        return self.unfinished

    def claim(self, inference_id: bytes) -> Claim | None:
        return self.found

    def put(self, key: bytes, raw: bytes) -> None:
        if key != IID:  # the payload itself is kept under the inference's id; these tests look at verdicts
            self.kept[key] = raw

    def read(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def checks(self) -> CheckRules:
        return self.rules

    def height(self) -> int:
        return self.top


class FakeEngine:
    def __init__(self, salt: int = 1, fail: bool = False, scale: float = 1.0) -> None:
        self.toy, self.fail = Toy(salt, scale), fail

    async def score(self, prompt_tokens: Any, output_tokens: Any, top: int) -> Any:
        if self.fail:
            raise Unavailable("down", field="ml_node")
        return tuple(rows(self.toy, tuple(output_tokens)))


class Ordered(FakeEngine):
    """Puts answers before checks."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[float] = []

    def by(self, due: float) -> FakeEngine:
        self.due.append(due)
        return FakeEngine()

    async def score(self, prompt_tokens: Any, output_tokens: Any, top: int) -> Any:
        raise AssertionError("asked as if it were an answer")


class FakeStream:
    def __init__(self, payload: Payload) -> None:
        self.payload = payload

    async def send(self, data: bytes) -> None: ...

    async def receive(self, **_: Any) -> bytes:
        return pack_frame(self.payload)

    async def close(self) -> None: ...


def answer(length: int = 40) -> tuple[Claim, Payload]:
    request = Request(
        VERSION, "n", bytes(32), 1, "toy", one_message(PROMPT).hash, Params(700), 64, length, 100, 50,
        bytes(32), 40
    )
    seed = tape.tape_seed(BEACON, IID, 1)
    steps = generate(Toy(1), length, request.params, seed)
    made = artifacts.build(artifacts.header_for(request, IID, SPEC, seed, TOKENS, FinishReason.LENGTH), steps)
    finish = FinishRecord(
        IID, Key(bytes(32)).public, made.root(), made.output_hash(), len(TOKENS), len(steps), FinishReason.LENGTH,
        text_hash=text_hash(toy.WORDS.text(made.tokens)),
    )
    return Claim(request, finish, BEACON, SPEC), Payload(encode(one_message(PROMPT)), made.to_bytes())


class Lab:
    def __init__(self, chain: FakeChain, outbox: Any = None, engine: Any = None, length: int = 40) -> None:
        self.chain, self.outbox = chain, outbox or Outbox(KEY, "n")
        chain.found, payload = answer(length)

        async def open_stream(peer: str, protocol: str) -> Any:
            return FakeStream(payload)

        fake: Any = chain
        self.validator = Validator(KEY, NetworkId("n"), fake, self.outbox, open_stream, self.ready(engine))
        self.validator.profile = PROFILE
        self.taken = 0  # nonce up to which the chain has this peer's batches

    def ready(self, engine: Any = None, **more: Any) -> ReadyEngine:
        return ready(engine or FakeEngine(), ends=frozenset({2}), tokens=TOKENS, **more)

    async def height(self) -> None:
        async with trio.open_nursery() as nursery:
            await self.validator.on_height(nursery)

    def sent(self) -> list[tuple[RecordKind, bytes]]:
        return [
            (r.kind, r.body) for raw in self.outbox.due(self.taken, 0) for r in unpack(SignedBatch, raw).batch.records
        ]


PROFILE = Profile("toy", "00", {}, 500, {"vllm-cpu-bf16>vllm-cpu-bf16": toy.calibrated()})


def duty(commitment: bytes | None = None) -> Duty:
    return Duty(IID, 7, b"\x0b" * 32, commitment, closes=67)


async def committed(lab: Lab) -> VerdictCommit:
    lab.chain.duties = [duty()]
    await lab.height()
    ((kind, body),) = lab.sent()
    assert kind is RecordKind.VERDICT_COMMIT
    return unpack(VerdictCommit, body)


async def test_it_commits_then_reveals_what_it_committed_to() -> None:
    lab = Lab(FakeChain())
    commit = await committed(lab)
    lab.taken = 10
    await lab.height()
    assert lab.sent() == [], "not twice"
    lab.chain.duties = [duty(commit.commitment)]
    await lab.height()
    ((kind, body),) = lab.sent()
    verdict = unpack(Verdict, body)
    assert kind is RecordKind.VERDICT
    assert verdict_commitment(verdict) == commit.commitment
    assert (verdict.valid, verdict.tokens) == (True, 40)
    assert tuple(row.position for row in verdict.numbers) == reveal_positions(b"\x0b" * 32, IID, KEY.public, 40)


async def test_after_a_restart_it_says_the_same() -> None:
    chain = FakeChain()
    first = await committed(Lab(chain))
    again = Lab(chain, engine=FakeEngine(fail=True))  # it need not even be able to check
    second = await committed(again)
    assert first == second
    third = Lab(chain, engine=FakeEngine(fail=True))
    third.validator.ready = None
    chain.duties = [duty(first.commitment)]
    await third.height()
    assert [kind for kind, _ in third.sent()] == [RecordKind.VERDICT]


async def test_the_verdict_is_on_disk_before_the_commitment_leaves() -> None:
    chain = FakeChain()

    class Watching(Outbox):
        def put(self, kind: RecordKind, body: object) -> None:
            assert isinstance(body, VerdictCommit)
            assert [verdict_commitment(unpack(Verdict, raw)) for raw in chain.kept.values()] == [body.commitment]
            super().put(kind, body)

    await committed(Lab(chain, Watching(KEY, "n")))


async def test_it_reveals_nothing_that_it_did_not_commit_to() -> None:
    chain = FakeChain()
    lab = Lab(chain)
    await committed(lab)
    lab.taken = 10
    chain.duties = [duty(b"\x01" * 32)]
    await lab.height()
    assert lab.sent() == []


async def test_its_checks_let_answers_pass_until_half_of_its_time_is_over() -> None:
    engine = Ordered()
    lab, now = Lab(FakeChain(), engine=engine), time.time()
    await committed(lab)
    (due,) = engine.due
    assert 0 <= due - now - (67 - lab.chain.top) * CHECK_HEIGHT_S / 2 <= time.time() - now + 0.01


async def test_another_model_is_invalid() -> None:
    lab = Lab(FakeChain(), engine=FakeEngine(salt=9))
    await committed(lab)
    (raw,) = lab.chain.kept.values()
    verdict = unpack(Verdict, raw)
    assert (verdict.valid, verdict.tokens, verdict.llr_milli > 0) == (False, 40, True)


async def test_a_text_that_is_not_the_tokens_is_invalid() -> None:
    lab = Lab(FakeChain())
    assert lab.chain.found is not None
    said = toy.WORDS.text(artifacts.parse(answer()[1].artifact).tokens)
    for text, right in (("something else", False), (said, True)):
        finish = structs.replace(lab.chain.found.finish, text_hash=text_hash(text))
        opinion = await lab.validator.opinion(duty(), replace(lab.chain.found, finish=finish))
        assert (opinion.report.valid, opinion.withheld) == (right, False), opinion.report.reason


async def test_without_the_models_files_nothing_is_judged() -> None:
    lab = Lab(FakeChain())
    lab.validator.ready = ready(FakeEngine(), None, frozenset({2}))
    with pytest.raises(Unavailable, match=r"tokenizer\.json"):
        await lab.validator.opinion(duty(), lab.chain.found)


async def test_what_stage_0_refuses_has_no_numbers() -> None:
    lab = Lab(FakeChain())
    claim, _ = answer()
    lab.chain.found = Claim(claim.request, structs.replace(claim.finish, output_tokens=41), claim.beacon, claim.spec)
    await committed(lab)
    (raw,) = lab.chain.kept.values()
    verdict = unpack(Verdict, raw)
    assert (verdict.kind, verdict.tokens, verdict.llr_milli, verdict.numbers) == (VerdictKind.INVALID, 0, 0, ())
    assert verdict.reason


@pytest.mark.parametrize("what", ["gone", "prompt", "artifact", "root"])
async def test_what_it_cannot_get_it_calls_withheld_and_never_wrong(what: str, autojump_clock: Any) -> None:
    """Also where somebody gives something else than what was signed for: nobody can show who it was."""
    lab = Lab(FakeChain(top=60))
    _, payload = answer()
    other = answer(41)[1]

    async def open_stream(peer: str, protocol: str) -> Any:
        if what == "gone":
            raise Unavailable("gone", field="peer")
        return FakeStream(
            {"prompt": Payload(encode(one_message("other")), payload.artifact),
             "artifact": Payload(payload.body, b"\x80"), "root": other}[what]
        )

    lab.validator.open_stream = open_stream
    await committed(lab)
    (raw,) = lab.chain.kept.values()
    verdict = unpack(Verdict, raw)
    assert (verdict.kind, verdict.tokens, verdict.llr_milli, verdict.numbers) == (VerdictKind.WITHHELD, 0, 0, ())
    assert "nobody gave the payload" in verdict.reason


async def test_it_keeps_looking_until_it_must_speak(autojump_clock: Any) -> None:
    """An executor that was stopped comes back: what it shows then is judged."""
    lab = Lab(FakeChain())
    _, payload = answer()

    async def open_stream(peer: str, protocol: str) -> Any:
        if trio.current_time() < 100:
            raise Unavailable("stopped", field="peer")
        return FakeStream(payload)

    lab.validator.open_stream = open_stream
    await committed(lab)
    (raw,) = lab.chain.kept.values()
    assert unpack(Verdict, raw).kind is VerdictKind.VALID


async def test_what_is_here_already_is_asked_of_nobody() -> None:
    """It was this peer that relayed it, or it checked it before a restart."""
    lab = Lab(FakeChain())
    lab.chain.kept[IID] = encode(answer()[1])

    async def open_stream(peer: str, protocol: str) -> Any:
        raise AssertionError("asked")

    lab.validator.open_stream = open_stream
    await committed(lab)
    assert [unpack(Verdict, raw).kind for key, raw in lab.chain.kept.items() if key != IID] == [VerdictKind.VALID]


async def test_who_hides_many_does_not_keep_others_from_being_checked(autojump_clock: Any) -> None:
    """Looking for a payload takes no place on the ML node."""
    lab = Lab(FakeChain())
    _, payload = answer()
    hidden = [InferenceId(bytes([at]) * 32) for at in range(20, 20 + 2 * validator.MAX_CHECKS_AT_ONCE)]
    lab.chain.duties = [*(Duty(iid, 7, b"\x0b" * 32, None, closes=67) for iid in hidden), duty()]
    asked: list[bytes] = []

    class Stream(FakeStream):
        async def send(self, data: bytes) -> None:
            frame = parse_frame(data)
            assert isinstance(frame, PayloadWanted)
            asked.append(frame.inference_id)
            if frame.inference_id != IID:
                await trio.sleep_forever()

    async def open_stream(peer: str, protocol: str) -> Any:
        return Stream(payload)

    lab.validator.open_stream = open_stream
    async with trio.open_nursery() as nursery:
        await lab.validator.on_height(nursery)
        while not (sent := lab.sent()):
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert set(hidden) < set(asked), "all of them were being looked for"
    ((kind, body),) = sent
    assert (kind, unpack(VerdictCommit, body).inference_id) == (RecordKind.VERDICT_COMMIT, IID)


async def test_a_peer_that_drains_checks_what_was_drawn_so_far_and_owes_what_is_not_revealed() -> None:
    chain = FakeChain(duties=[duty()])
    lab = Lab(chain)
    drawn = chain.duties[0].height
    chain.unfinished = [Owed(drawn, committed=False), Owed(drawn + 5, committed=False), Owed(drawn, committed=True)]
    assert (lab.validator.owing(drawn), lab.validator.owing()) == (2, 3)
    async with trio.open_nursery() as nursery:
        await lab.validator.on_height(nursery, until=drawn - 1)
    assert lab.sent() == [], "it is left to the next start"
    async with trio.open_nursery() as nursery:
        await lab.validator.on_height(nursery, until=drawn)
    ((kind, _),) = lab.sent()
    assert kind is RecordKind.VERDICT_COMMIT
    lab.validator.ready = None
    assert lab.validator.owing(drawn) == 1, "without an engine nothing is checked, but a commitment is revealed"


async def test_duties_that_find_no_place_are_told_to_whoever_takes_new_work() -> None:
    lab, load = Lab(FakeChain()), Load()
    lab.validator.load = load
    load.note(1000.0)  # late, so that few checks begin at once
    many = range(20, 21 + validator.MAX_CHECKS_LATE)
    lab.chain.duties = [Duty(InferenceId(bytes([at]) * 32), 7, b"\x0b" * 32, None, closes=67) for at in many]

    async def open_stream(peer: str, protocol: str) -> Any:
        await trio.sleep_forever()

    lab.validator.open_stream = open_stream
    async with trio.open_nursery() as nursery:
        for behind in (False, True):
            await lab.validator.on_height(nursery)
            assert load.is_behind is behind, "at the second look it still waits"
        lab.chain.duties = lab.chain.duties[:-1]
        await lab.validator.on_height(nursery)
        assert not load.is_behind, "each that is left is being checked"
        nursery.cancel_scope.cancel()


async def test_an_engine_that_fails_or_a_full_queue_is_no_verdict_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validator, "RETRY_S", 0)
    chain = FakeChain(duties=[duty()])
    lab = Lab(chain, engine=FakeEngine(fail=True))
    await lab.height()
    assert lab.sent() == []
    assert not chain.kept
    lab.validator.ready = lab.ready()

    def full(kind: RecordKind, body: object) -> None:
        raise Overloaded("full", field="records")

    lab.validator.outbox = type("Full", (), {"put": staticmethod(full)})()
    await lab.height()
    lab.validator.outbox = lab.outbox
    await lab.height()
    assert [kind for kind, _ in lab.sent()] == [RecordKind.VERDICT_COMMIT]


class NoSuchTokens(FakeEngine):
    """Its model has not all of the answer's tokens."""

    async def score(self, prompt_tokens: Any, output_tokens: Any, top: int) -> Any:
        raise InvalidRequest("token ids must be from 0 to 99", field="tokens")


async def test_tokens_that_no_model_has_are_invalid_and_a_failing_engine_is_no_verdict() -> None:
    """Else an answer with one impossible id is never judged (where the registry names no vocabulary)."""
    chain = FakeChain()
    lab = Lab(chain, engine=NoSuchTokens())
    claim = chain.claim(IID)
    assert claim is not None
    found = await lab.validator.opinion(duty(), claim)
    assert (found.report.valid, found.withheld) == (False, False)
    assert "token ids" in found.report.reason


async def test_a_stack_nobody_calibrated_is_the_executors_fault_and_an_own_one_is_not() -> None:
    lab = Lab(FakeChain())
    artifact = artifacts.parse(answer()[1].artifact)
    with pytest.raises(Unavailable, match="no calibration"):
        lab.validator.weigh(artifact, (), "my-own-stack")
    lab.validator.profile = replace(PROFILE, pairs={"other>vllm-cpu-bf16": toy.calibrated()})
    report = lab.validator.weigh(artifact, (), "my-own-stack")
    assert not report.valid
    assert report.tokens == 0


async def test_without_a_calibration_of_this_model_there_is_no_verdict() -> None:
    """Thresholds come from a profile; a peer without one gives no verdict."""
    chain = FakeChain(duties=[duty()])
    lab = Lab(chain)
    for profile in (None, replace(PROFILE, model="another")):
        lab.validator.profile = profile
        await lab.height()
        assert lab.sent() == []
        assert not chain.kept


def test_ranks_after_those_of_the_artifact() -> None:
    row = {100 + i: -float(i) for i in range(20)}
    assert next_ranks(row) == ((108, -8000), (109, -9000), (110, -10000), (111, -11000))
    assert next_ranks({5: 0.0, **dict.fromkeys(range(10, 30), -5000000000.0)})[0][1] == -1_000_000
    assert next_ranks({100 + i: -float(i) for i in range(20)}, 1)[0] == (112, -12000)
    for earlier, count in ((0, 11), (1, 15)):
        with pytest.raises(Unavailable):
            next_ranks(dict.fromkeys(range(count), 0.0), earlier)
    assert encode(next_ranks(row))


def test_the_rate_of_false_alarms_is_the_rule_in_force() -> None:
    """A vote changes it on the chain; nothing is remembered from the genesis file."""
    lab = Lab(FakeChain())
    artifact = artifacts.parse(answer()[1].artifact)
    limits = []
    for ppm in (10_000, 100):
        lab.chain.rules = CheckRules(false_alarm_ppm=ppm)
        reason = lab.validator.weigh(artifact, toy.rows(toy.Toy(1), artifact.tokens), StackClass.CPU_BF16).reason
        limits.append(float(reason.partition("(limit ")[2].partition(")")[0]))
    assert limits[0] < limits[1]
