"""The torch engine over a fake model: text, bounds, errors, cancelling. Marker `engine`: the real model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import ConfigError, InvalidRequest, Overloaded, Unavailable
from p2p.base.serving_limits import LATE_SHARE
from p2p.base.types import Params, StackClass
from p2p.inference.selftest import Wanted
from p2p.inference.stack.model import MODEL_NAME, prepare_model
from p2p.inference.torch.decode import Event, generate_all
from p2p.inference.torch.engine import TorchEngine, TorchModel
from p2p.lab.roles import roles_of
from p2p.lab.settings import LabSettings
from p2p.peer.config import make_config
from p2p.peer.ml_node import run_ml_node
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.roles import Roles
from p2p.scheduling.turns import Turns
from p2p.verification import tape
from p2p.verification.engine import Job, TokenStep

SEED = b"\x05" * 32
PARAMS = Params(700)


# -- the shell, with a fake model -------------------------------------------------------------------------------------


class FakeDecoder:
    """Row: token 1, 2, 3, ... up to max_tokens; a prompt of (666,) fails in prefill, seed ff.. fails in its second
    step. `gate` holds each step until released."""

    def __init__(self, rows: int, gate: threading.Semaphore | None) -> None:
        self.rows: dict[Hashable, tuple[Job, int]] = {}
        self.max, self.gate, self.broken = rows, gate, False

    @property
    def free(self) -> int:
        return self.max - len(self.rows)

    @property
    def tags(self) -> list[Hashable]:
        return list(self.rows)

    def check(self, job: Job) -> None:
        if not job.prompt_tokens:
            raise InvalidRequest("empty", field="prompt_tokens")

    def add(self, jobs: Sequence[tuple[Hashable, Job]]) -> list[Event]:
        assert len(jobs) <= self.free
        if any(job.prompt_tokens == (666,) for _, job in jobs):
            raise IndexError("a bad row")
        self.rows |= {tag: (job, 0) for tag, job in jobs}
        return self._next([tag for tag, _ in jobs])

    def step(self) -> list[Event]:
        if self.rows and self.gate is not None:
            self.gate.acquire(timeout=30)
        if self.broken and self.rows:
            self.broken = False
            raise MemoryError("all gone")
        return self._next(list(self.rows))

    def _next(self, tags: list[Hashable]) -> list[Event]:
        events = []
        for tag in tags:
            job, done = self.rows[tag]
            last = done + 1 >= job.max_tokens
            bad = job.seed[:1] == b"\xff" and done
            self.rows[tag] = (job, done + 1)
            step = TokenStep(done + 1, "x", -1.0)
            events.append(Event(tag, None, True, ValueError("a bad seed")) if bad else Event(tag, step, last))
            if last or bad:
                self.drop(tag)
        return events

    def drop(self, tag: Hashable) -> None:
        self.rows.pop(tag, None)

    def clear(self) -> list[Hashable]:
        tags = self.tags
        self.rows.clear()
        return tags


class FakeModel:
    stack, eos_ids = "fake", frozenset({0})

    def __init__(self, gate: threading.Semaphore | None = None) -> None:
        self.gate = gate
        self.made: list[FakeDecoder] = []

    def decoder(self, model: Any, rows: int) -> Any:
        self.made.append(FakeDecoder(rows, self.gate))
        return self.made[-1]

    def prefill_rows(self, prompt: Sequence[int], output: Sequence[int], top: int) -> tuple[dict[int, float], ...]:
        return tuple({token: -float(top)} for token in output)


def fake_engine(gate: threading.Semaphore | None = None, **options: int) -> tuple[Any, FakeDecoder]:
    model: Any = FakeModel(gate)
    return TorchEngine(model, decoder=model.decoder, **options), model.made[0]


async def tokens_of(engine: TorchEngine, job: Job) -> list[int]:
    return [step.token async for step in engine.generate(job)]


def job(count: int, prompt: tuple[int, ...] = (1,), seed: bytes = SEED) -> Job:
    return Job(prompt, count, PARAMS, seed)


async def test_many_callers_one_batch() -> None:
    engine, _ = fake_engine(rows=3)
    found: list[list[int]] = []

    async def one(count: int) -> None:
        found.append(await tokens_of(engine, job(count)))

    async with trio.open_nursery() as nursery:
        for count in range(1, 11):
            nursery.start_soon(one, count)
    assert sorted(map(len, found)) == list(range(1, 11))
    assert all(row == list(range(1, len(row) + 1)) for row in found)
    assert await engine.score((1,), (4, 5), 32) == ({4: -32.0}, {5: -32.0})
    assert await tokens_of(engine, job(0)) == []
    await engine.aclose()
    assert not await engine.health()
    with pytest.raises(Unavailable):
        await tokens_of(engine, job(1))


async def test_a_full_queue_refuses_and_a_cancelled_request_frees_its_row() -> None:
    gate = threading.Semaphore(0)
    engine, decoder = fake_engine(gate, rows=1, queue=2)
    running = engine.generate(job(1000))
    assert (await anext(running)).token == 1  # in the batch; its next step waits at the gate
    async with trio.open_nursery() as nursery:
        found: list[list[int]] = []

        async def one() -> None:
            found.append(await tokens_of(engine, job(1)))

        for _ in range(2):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await tokens_of(engine, job(1))
        await running.aclose()  # the client went away
        gate.release(10)
    assert found == [[1], [1]]
    assert not decoder.rows
    await engine.aclose()


class NeverTheirTurn(Turns):
    def tokens(self, now: float, share: float) -> int:
        return self.chunk if share >= LATE_SHARE else 0


async def test_checks_let_answers_pass_and_what_an_answer_needs_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Semaphore(0)
    engine, decoder = fake_engine(gate, rows=2)
    monkeypatch.setattr(engine._worker, "_turns", NeverTheirTurn())
    scored: list[tuple[str, int]] = []  # what, beside how many answers

    def prefill(prompt: Sequence[int], output: Sequence[int], top: int) -> tuple[dict[int, float], ...]:
        scored.append(("check" if prompt[0] == 1 else "beginning", len(decoder.rows)))
        return tuple({token: -float(top)} for token in output)

    monkeypatch.setattr(engine.model, "prefill_rows", prefill)
    async with trio.open_nursery() as nursery:
        running = engine.generate(job(5))
        assert (await anext(running)).token == 1  # its next step waits at the gate
        nursery.start_soon(engine.by(time.time() + 3600).score, (1,), (4, 5), 32)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(engine.score, (2,), (4, 5), 32)
        await trio.testing.wait_all_tasks_blocked()
        gate.release(5)
        assert [step.token async for step in running] == [2, 3, 4, 5]
    assert scored == [("beginning", 1), ("check", 0)]
    running = engine.generate(job(1000))
    assert (await anext(running)).token == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.by(0.0).score, (1,), (4, 5), 32)
        await trio.testing.wait_all_tasks_blocked()
        gate.release(5)
    assert scored[2:] == [("check", 1)], "past due"
    await running.aclose()
    gate.release(5)
    await engine.aclose()


async def test_one_bad_row_does_not_end_the_others() -> None:
    gate = threading.Semaphore(0)
    engine, decoder = fake_engine(gate, rows=8)
    ends: dict[str, object] = {}

    async def one(name: str, request: Job) -> None:
        try:
            ends[name] = await tokens_of(engine, request)
        except Unavailable as error:
            ends[name] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "first", job(6))
        await trio.testing.wait_all_tasks_blocked()
        for name, request in {
            "prefill": job(5, (666,)), "row": job(5, seed=b"\xff" * 32), "empty": job(5, ()), "good": job(5)
        }.items():
            nursery.start_soon(one, name, request)
        await trio.testing.wait_all_tasks_blocked()
        gate.release(50)
    assert ends["first"] == [1, 2, 3, 4, 5, 6]
    assert ends["good"] == [1, 2, 3, 4, 5]
    assert all(isinstance(ends[name], Unavailable) for name in ("prefill", "row", "empty"))
    decoder.broken = True
    with pytest.raises(Unavailable, match="MemoryError"):
        await tokens_of(engine, job(5))
    assert await tokens_of(engine, job(2)) == [1, 2]
    await engine.aclose()


async def test_closing_answers_everyone_who_waits() -> None:
    gate = threading.Semaphore(0)
    engine, _ = fake_engine(gate, rows=1)
    async with trio.open_nursery() as nursery:

        async def one() -> None:
            with pytest.raises(Unavailable, match="has ended"):  # not a wait that ran out
                await tokens_of(engine, job(10))

        for _ in range(3):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(engine.aclose)
        while await engine.health():
            await trio.lowlevel.checkpoint()
        gate.release(1)  # the step it is in ends


def test_a_folder_without_a_model_is_a_config_error(tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        TorchModel(tmp_path)
    with pytest.raises(ConfigError) as caught:
        TorchModel(tmp_path, kv_cache="int2")
    assert caught.value.field == "kv_cache"


def test_the_engine_is_a_setting(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    config = make_config(tmp_path, {"network": "n", "engine": "torch", "model_path": str(model), "engine_threads": 2})
    assert (config.engine, config.engine_threads) == ("torch", 2)
    assert make_config(tmp_path, {"network": "n"}).engine == "vllm"
    for bad, field in (
        ({"engine": "tpu"}, "engine"), ({"engine": "torch"}, "model_path"), ({"engine_threads": 0}, "engine_threads"),
        ({"engine": "torch", "model_path": str(model), "engine_flags": ["--x"]}, "engine_flags"),
    ):
        with pytest.raises(ConfigError) as caught:
            make_config(tmp_path, {"network": "n", **bad})
        assert caught.value.field == field


# -- the real model ---------------------------------------------------------------------------------------------------

QUESTIONS = (
    "Tell me about the sea.", "What is the capital of France?", "Write a line with 你好 and 🙂.",
    "Explain tides to a child.",
)


@pytest.fixture(scope="module")
def real() -> TorchModel:
    return TorchModel(prepare_model(), threads=1)


def asked(model: TorchModel, question: str) -> tuple[int, ...]:
    """The question under the chat template, as transformers writes it."""
    message = [{"role": "user", "content": question}]
    return tuple(model.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))


def margins(model: TorchModel, request: Job, steps: Sequence[TokenStep]) -> np.ndarray[Any, Any]:
    """By how much each token loses the tape under one prefill, in units of the score; 0 where it wins."""
    found = []
    for position, (row, step) in enumerate(
        zip(model.prefill_rows(request.prompt_tokens, [s.token for s in steps], 32), steps, strict=True)
    ):
        ids = list(row)
        scores = np.array([row[token] for token in ids]) / 0.7 + tape.gumbel_at(request.seed, position, ids)
        found.append(scores.max() - scores[ids.index(step.token)])
    return np.array(found)


@pytest.mark.engine
def test_real_batch_against_prefill(real: TorchModel) -> None:
    """Decoding in a batch of unequal rows agrees with one prefill up to honest noise; each row has its own tape."""
    jobs = [Job(asked(real, q), 10 + 8 * i, PARAMS, bytes([i]) * 32) for i, q in enumerate(QUESTIONS)]
    found = generate_all(real, jobs, max_rows=3)  # the fourth joins when there is a place
    assert real.eos_ids == {2}
    assert real.stack in (StackClass.TORCH_CPU_BF16, StackClass.TORCH_GPU_BF16)
    for request, steps in zip(jobs, found, strict=True):
        assert len(steps) == request.max_tokens or steps[-1].token in real.eos_ids
        tokens = [s.token for s in steps]
        assert "".join(s.text for s in steps) == real.vocabulary.text(tokens)
        assert real.vocabulary.text(tokens) == real.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        rows = real.prefill_rows(request.prompt_tokens, [s.token for s in steps], 32)
        assert np.mean([abs(row[s.token] - s.logprob) for row, s in zip(rows, steps, strict=True)]) < 0.15
        assert np.mean(np.minimum(margins(real, request, steps), 1.0)) < 0.05
        wrong = Job(request.prompt_tokens, request.max_tokens, PARAMS, b"\x77" * 32)
        assert np.mean(np.minimum(margins(real, wrong, steps), 1.0)) > 0.3
        assert all(len(s.top) == 8 and s.top[0][1] >= s.top[1][1] for s in steps)
    alone = generate_all(real, jobs[:1])[0]
    same = [a.token == b.token for a, b in zip(alone, found[0], strict=False)]
    assert all(same[:4])  # a near-tie may fall otherwise later
    pairs = [(j.prompt_tokens, [s.token for s in steps]) for j, steps in zip(jobs, found, strict=True)]
    for (prompt, output), rows in zip(pairs, real.prefill_rows_batch(pairs, 32), strict=True):
        own = real.prefill_rows(prompt, output, 32)
        assert np.mean([abs(a[t] - b[t]) for a, b, t in zip(own, rows, output, strict=True)]) < 0.1


@pytest.mark.engine
def test_real_resumption_and_fp8_cache(real: TorchModel) -> None:
    request = Job(asked(real, QUESTIONS[0]), 30, PARAMS, SEED)
    whole = generate_all(real, [request])[0]
    rest = generate_all(real, [Job(request.prompt_tokens, 30, PARAMS, SEED, tuple(s.token for s in whole[:10]))])[0]
    assert [s.token for s in rest][:5] == [s.token for s in whole[10:15]]
    answer = Job(asked(real, QUESTIONS[1]), 12, Params(0), SEED)
    assert "Paris" in "".join(s.text for s in generate_all(real, [answer])[0])
    real.kv_cache = "fp8"
    try:
        rough = generate_all(real, [request, answer])
    finally:
        real.kv_cache = "model"
    assert [bool(steps) for steps in rough] == [True, True]
    # the first position has the same context with either cache
    exact, rounded = dict(whole[0].top), dict(rough[0][0].top)
    differences = [abs(exact[token] - rounded[token]) for token in exact.keys() & rounded.keys()]
    assert len(differences) >= 4
    assert 0.005 < max(differences) < 1.5


@pytest.mark.engine
async def test_real_engine_serves_and_refuses(real: TorchModel) -> None:
    engine = TorchEngine(real, rows=4)
    prompt = asked(real, QUESTIONS[1])
    steps = [step async for step in engine.generate(Job(prompt, 12, Params(0), SEED))]
    assert "Paris" in "".join(s.text for s in steps)
    rows = await engine.score(prompt, [s.token for s in steps], 12)
    assert all(12 <= len(row) <= 13 and s.token in row for row, s in zip(rows, steps, strict=True))
    for bad in (Job((1 << 20,), 5, PARAMS, SEED), Job(prompt, 4096, PARAMS, SEED, (1,) * 9000)):
        with pytest.raises(Unavailable):
            async for _ in engine.generate(Job(bad.prompt_tokens, 10_000, PARAMS, SEED, bad.prefix)):
                pass
    await engine.aclose()


@pytest.mark.engine
def test_real_answers_by_a_grammar_continue_and_end_where_they_are_told(real: TorchModel) -> None:
    """Schema, begun answers, own end tokens, least lengths: in one batch with an answer that is free."""
    schema = Grammar(GrammarKind.JSON_SCHEMA, json.dumps({
        "type": "object", "required": ["city", "people"], "additionalProperties": False,
        "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer", "maximum": 9999}},
    }))
    prompt = asked(real, "Name a city and how many people live there, as JSON.")
    jobs = [Job(prompt, 60, PARAMS, bytes([i]) * 32, grammar=schema) for i in range(6)]
    free = Job(prompt, 20, Params(0), SEED, ends=(28,))
    *bound, plain = generate_all(real, [*jobs, free], max_rows=4)
    answers = [tuple(step.token for step in steps) for steps in bound]
    for steps in bound:
        assert steps[-1].token in real.eos_ids
        value = json.loads("".join(step.text for step in steps))
        assert set(value) == {"city", "people"}
    for cut in (1, 3):  # all at once, each time in the same company: so the bits are the same
        begun = [
            Job(prompt, 60 - cut, PARAMS, job.seed, (), tokens[:cut], grammar=schema)
            for job, tokens in zip(jobs, answers, strict=True)
        ]
        resumed = [
            Job(prompt, 60, PARAMS, job.seed, tokens[:cut], grammar=schema)
            for job, tokens in zip(jobs, answers, strict=True)
        ]
        for tokens, one, two in zip(answers, generate_all(real, begun), generate_all(real, resumed), strict=True):
            assert [step.token for step in one] == [step.token for step in two]
            json.loads(real.vocabulary.text(tokens[:cut]) + "".join(step.text for step in one))
    assert (plain[-1].token == 28) == (len(plain) < 20)
    late = generate_all(real, [Job(prompt, 40, Params(0, min_tokens=40), SEED)])[0]
    assert len(late) == 40
    assert not {step.token for step in late} & real.eos_ids


@pytest.mark.engine
async def test_real_ml_node_in_the_peer(tmp_path: Path) -> None:
    """What `serve --engine torch --model PATH` opens; a cheat with another cache leaves the validator's engine
    honest."""
    table = {"network": "n", "engine": "torch", "model_path": str(prepare_model()), "engine_threads": 1}
    said: list[str] = []
    lent: list[ReadyEngine | None] = []

    async def until_lent(roles: Roles) -> ReadyEngine:
        """The node as it was lent; it is taken back when this returns."""
        def take(found: ReadyEngine | None) -> None:
            lent.append(found)
            if found is not None:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_ml_node, make_config(tmp_path, table), roles, lambda: Wanted(MODEL_NAME, 0), take, said.append
            )
        found, last = lent[-2:]
        assert found is not None
        assert last is None
        return found

    found = await until_lent(Roles())
    assert found.engine is found.checks
    assert (found.eos_ids, found.stack) == ({2}, StackClass.TORCH_CPU_BF16)
    assert not await found.engine.health()
    assert said
    found = await until_lent(roles_of(LabSettings(cheat="fp8_kv")))
    assert isinstance(found.engine, TorchEngine)
    assert isinstance(found.checks, TorchEngine)
    assert (found.engine.model.kv_cache, found.checks.model.kv_cache) == ("fp8", "model")
