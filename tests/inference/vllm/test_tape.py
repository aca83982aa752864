"""The tape inside vLLM without its engine: rows that come, go, move and swap keep their noise; what cannot be right
is refused."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdateBuilder, MoveDirectionality, build_logitsprocs

from p2p.base.errors import InvalidRequest
from p2p.base.types import Params
from p2p.inference.vllm import tape as vllm_tape
from p2p.inference.vllm.tape import TapeProcessor
from p2p.inference.vllm.tape_args import TapeArgs, pack, unpack
from p2p.verification import tape
from p2p.verification.engine import Job

VOCAB = 120
NAME = "p2p.inference.vllm.tape:TapeProcessor"
CONFIG = SimpleNamespace(
    speculative_config=None,
    model_config=SimpleNamespace(logprobs_mode="raw_logprobs", enable_prompt_embeds=False, logits_processors=[NAME])
)
CHOICES = (
    Params(700), Params(0), Params(1000, 12, 0, 900), Params(900, 0, 50, 1000, 800, 300),
    Params(0, 0, 0, 1000, 1500, 500),
    Params(600, 20, 30, 950, -400, -100), None,
)


def processor() -> TapeProcessor:
    return TapeProcessor(CONFIG, torch.device("cpu"), False)


@dataclass
class Live:
    """A request as the simple model knows it: it never hears of rows."""

    name: int
    params: Params | None
    seed: bytes
    prompt: list[int]
    prefix: int  # so many of the prompt's last tokens are output already
    output: list[int] = field(default_factory=list)

    def sampling(self) -> SamplingParams:
        prefix = tuple(self.prompt[len(self.prompt) - self.prefix :])
        job = Job((), 1, self.params, self.seed, prefix) if self.params else None
        return SamplingParams(temperature=0.0, extra_args=dict(pack(job)) if job else None)

    def expected(self, logits: np.ndarray) -> int | None:
        if self.params is None:
            return None
        before = [*self.prompt[len(self.prompt) - self.prefix :], *self.output]
        noise = tape.gumbel_row(self.seed, len(before), VOCAB)
        counts = tape.output_counts(before, range(VOCAB))
        return int(np.argmax(tape.scores(logits.astype(np.float64), self.params, noise, counts)))


class Batch:
    """vLLM's persistent batch, as far as a logits processor sees it: adds fill freed rows first, then the batch is
    condensed, then rows are swapped at will (v1/worker/gpu_input_batch.py)."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.rows, self.waiting, self.made = chance, [], [], 0  # type: ignore[var-annotated]

    def new(self) -> Live:
        self.made += 1
        chance = self.chance
        prompt = [chance.randrange(VOCAB) for _ in range(chance.randrange(1, 9))]
        params = chance.choice(CHOICES)
        return Live(self.made, params, chance.randbytes(32), prompt, chance.randrange(len(prompt) + 1) if params else 0)

    def step(self) -> Any:
        chance, builder = self.chance, BatchUpdateBuilder()
        leaving = [at for at in range(len(self.rows)) if chance.random() < 0.2]
        rows: list[Live | None] = list(self.rows)
        for at in leaving:
            builder.removed_append(at)
            if chance.random() < 0.6:  # preempted: it comes back with another list of the same tokens
                self.waiting.append(self.rows[at])
            rows[at] = None
        for _ in range(chance.randrange(3)):
            self.waiting.append(self.new())
        chance.shuffle(self.waiting)
        for _ in range(min(len(self.waiting), chance.randrange(4))):
            live = self.waiting.pop()
            live.output = list(live.output)
            at = builder.pop_removed() if builder.has_removed() else None
            if at is None:
                rows.append(live)
                at = len(rows) - 1
            else:
                rows[at] = live
            builder.added.append((at, live.sampling(), live.prompt, live.output))
        self.condense(rows, builder)
        for _ in range(chance.randrange(3)):
            if len(self.rows) >= 2:
                one, two = chance.sample(range(len(self.rows)), 2)
                self.rows[one], self.rows[two] = self.rows[two], self.rows[one]
                builder.moved.append((one, two, MoveDirectionality.SWAP))
        return builder.get_and_reset(len(self.rows))

    def condense(self, rows: list[Live | None], builder: BatchUpdateBuilder) -> None:
        last = len(rows) - 1
        while builder.has_removed():
            while last >= 0 and rows[last] is None:
                last -= 1
            empty = builder.peek_removed()
            assert empty is not None
            if empty >= last:
                break
            builder.pop_removed()
            rows[empty], rows[last] = rows[last], None
            builder.moved.append((last, empty, MoveDirectionality.UNIDIRECTIONAL))
        self.rows = [live for live in rows if live is not None]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("device", ["numpy", "torch"])
def test_every_row_keeps_its_own_tape(number: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "torch":  # what runs on a GPU, here on the CPU
        monkeypatch.setattr(vllm_tape, "_choose_numpy", vllm_tape._choose_torch)
    monkeypatch.setattr(vllm_tape, "GPU_ROWS", 3)
    batch, tapes, generator = Batch(random.Random(number)), processor(), torch.Generator().manual_seed(number)
    chosen = 0
    for _ in range(60):
        tapes.update_state(batch.step())
        logits = torch.randn(len(batch.rows), VOCAB, generator=generator) * 3
        if number % 2:
            logits = logits.bfloat16().float()  # ties
        before = logits.clone()
        after = tapes.apply(logits)
        for at, live in enumerate(batch.rows):
            expected = live.expected(before[at].numpy())
            if expected is None:
                assert torch.equal(after[at], before[at])
            else:
                chosen += 1
                assert int(torch.argmax(after[at])) == expected, f"row {at} of request {live.name}"
                assert int(torch.isfinite(after[at]).sum()) == 1
            live.output.append(int(torch.argmax(after[at])))
    assert chosen > 100


def test_placeholders_are_never_counted() -> None:
    tapes, builder, output = processor(), BatchUpdateBuilder(), [5, -1]
    live = Live(1, CHOICES[3], bytes(32), [1], 0)
    builder.added.append((0, live.sampling(), live.prompt, output))
    tapes.update_state(builder.get_and_reset(1))
    with pytest.raises(RuntimeError, match="last output token"):
        tapes.apply(torch.zeros(1, VOCAB))
    output[-1] = 6  # what vLLM does before it samples (update_async_output_token_ids)
    live.output = [5, 6]
    assert int(torch.argmax(tapes.apply(torch.zeros(1, VOCAB))[0])) == live.expected(np.zeros(VOCAB, dtype=np.float32))


def taped(**fields: Any) -> SamplingParams:
    extra = {**pack(Job((), 1, Params(700), bytes(32))), **fields.pop("extra", {})}
    return SamplingParams(**{"temperature": 0.0, "extra_args": extra, **fields})


@pytest.mark.parametrize(("fields", "name"), [
    ({"temperature": 0.5}, "temperature"), ({"presence_penalty": 0.1}, "presence_penalty"),
    ({"frequency_penalty": -1.0}, "frequency_penalty"),
    ({"repetition_penalty": 1.1}, "repetition_penalty"), ({"logit_bias": {3: 1.0}}, "logit_bias"),
    ({"min_tokens": 3}, "min_tokens"),
    ({"allowed_token_ids": [1]}, "allowed_token_ids"), ({"bad_words": ["x"]}, "bad_words"),
    ({"temperature": 1.0, "top_p": 0.5}, "temperature"),
    ({"thinking_token_budget": 4}, "thinking_token_budget"),
    ({"trace_decode_token_ids": [1, 2]}, "trace_decode_token_ids"),
    ({"extra": {"folkmoot_seed": "00"}}, "folkmoot_seed"), ({"extra": {"folkmoot_seed": 5}}, "folkmoot_seed"),
    ({"extra": {"folkmoot_position": -1}}, "folkmoot_position"),
    ({"extra": {"folkmoot_position": 1.5}}, "folkmoot_position"),
    ({"extra": {"folkmoot_top_k": "4"}}, "folkmoot_top_k"), ({"extra": {"folkmoot_top_p_milli": 900}}, "params"),
    ({"extra": {"folkmoot_temperature_milli": 2001}}, "params"), ({"extra": {"folkmoot_colour": 1}}, "folkmoot_colour"),
])
def test_what_would_spoil_the_tape_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TapeProcessor.validate_params(taped(**fields))


def test_what_is_right_is_taken() -> None:
    TapeProcessor.validate_params(taped())
    TapeProcessor.validate_params(taped(bad_words=[], logit_bias=None, logprobs=8, stop=["x"]))
    TapeProcessor.validate_params(SamplingParams(temperature=0.9, presence_penalty=1.0, extra_args={"other": 1}))
    with pytest.raises(ValueError, match="folkmoot_seed"):
        TapeProcessor.validate_params(SamplingParams(temperature=0.0, extra_args={"folkmoot_top_k": 3}))


def test_arguments_go_there_and_back() -> None:
    params = Params(900, 12, 30, 950, -1500, 250)
    assert unpack(pack(Job((1, 2), 5, params, b"\x07" * 32, (3, 4, 5)))) == TapeArgs(b"\x07" * 32, params, 3)
    assert unpack(None) is None
    assert unpack({"other": 1}) is None
    with pytest.raises(InvalidRequest):
        unpack({"folkmoot_seed": "00" * 32, "folkmoot_top_k": True})


@pytest.mark.parametrize(("change", "words"), [
    ({"speculative_config": object()}, "speculative decoding"),
    ({"model_config": SimpleNamespace(logprobs_mode="processed_logprobs", logits_processors=[NAME])}, "raw_logprobs"),
    ({"model_config": SimpleNamespace(logprobs_mode="raw_logprobs", logits_processors=None)}, "--logits-processors"),
    (
        {"model_config": SimpleNamespace(
            logprobs_mode="raw_logprobs", logits_processors=[NAME], enable_prompt_embeds=True
        )}, "embeddings",
    ),
])
def test_an_engine_that_would_spoil_the_tape_does_not_start(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TapeProcessor(SimpleNamespace(**{**vars(CONFIG), **change}), torch.device("cpu"), False)


def test_vllm_itself_starts_no_speculative_engine_with_a_tape() -> None:
    config = SimpleNamespace(**{**vars(CONFIG), "speculative_config": object()})
    with pytest.raises(ValueError, match="speculative decoding"):
        build_logitsprocs(config, torch.device("cpu"), False, False, [NAME])
