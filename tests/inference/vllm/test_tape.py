"""The tape inside vLLM without its engine: rows that come, go, move and swap keep their noise; what cannot be right
is refused."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdateBuilder, MoveDirectionality, build_logitsprocs

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import InvalidRequest
from p2p.base.types import Params
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.inference.vllm import tape as vllm_tape
from p2p.inference.vllm.tape import TapeProcessor
from p2p.inference.vllm.tape_args import TapeArgs, pack, score_from, unpack
from p2p.verification import tape
from p2p.verification.engine import Job
from p2p.verification.sampling import sampling_of
from testnet.simulated_engine import BYTE_BASE, tokenizer_json

VOCAB = 160  # of the simulated model's tokenizer: the printable bytes and some special tokens
NAME = "p2p.inference.vllm.tape:TapeProcessor"
FOLDER = Path(tempfile.mkdtemp(prefix="folkmoot-tape-"))
RAW = tokenizer_json().encode()
(FOLDER / "tokenizer.json").write_bytes(RAW)
CONFIG = SimpleNamespace(
    speculative_config=None,
    model_config=SimpleNamespace(
        logprobs_mode="raw_logprobs", enable_prompt_embeds=False, logits_processors=[NAME], tokenizer=str(FOLDER)
    )
)
CHOICES = (
    Params(700), Params(0), Params(1000, 12, 0, 900), Params(900, 0, 50, 1000, 800, 300),
    Params(0, 0, 0, 1000, 1500, 500),
    Params(600, 20, 30, 950, -400, -100), None, Params(800, 30, 0, 950, 300, 100, 1300),
    Params(0, repetition_milli=700), Params(900, min_tokens=12),
)
BIASES = ((), ((3, 2500), (7, -100_000), (90, 700)))
GRAMMARS = (None, None, Grammar(GrammarKind.REGEX, "([a-m]*[n-z]?){0,40}"), Grammar(GrammarKind.CHOICE, '["ab", "cd"]'))
ENDS = (5, 119)


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
    bias: tuple[tuple[int, int], ...] = ()
    grammar: Grammar | None = None
    output: list[int] = field(default_factory=list)

    def job(self) -> Job:
        assert self.params is not None
        prefix = tuple(self.prompt[len(self.prompt) - self.prefix :])
        half = len(prefix) // 2  # of an earlier request, and of an earlier executor
        return Job((), 1, self.params, self.seed, prefix[half:], prefix[:half], ENDS, self.bias, self.grammar)

    def sampling(self) -> SamplingParams:
        return SamplingParams(temperature=0.0, extra_args=dict(pack(self.job())) if self.params else None)

    def expected(self, logits: np.ndarray) -> int | None:
        """From the whole output each time, and from log-probabilities, as a validator does."""
        if self.params is None:
            return None
        tokens = GrammarTokenizer.from_json(RAW, frozenset(ENDS), VOCAB)
        begin = compile_grammar(self.grammar, tokens).begin if self.grammar else None
        rules = sampling_of(self.job(), frozenset(ENDS), begin)
        state = rules.begin([*self.job().prefix, *self.output])
        noise = tape.gumbel_row(self.seed, len(state.output), VOCAB)
        return int(np.argmax(state.scores(tape.log_softmax(logits), np.arange(VOCAB), noise)))


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
        grammar = chance.choice(GRAMMARS)
        prefix = chance.randrange(len(prompt) + 1) if params and grammar is None else 0
        return Live(self.made, params, chance.randbytes(32), prompt, prefix, chance.choice(BIASES), grammar)

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
    ({"extra": {"folkmoot_ends": [1] * 17}}, "folkmoot_ends"), ({"extra": {"folkmoot_ends": [-1]}}, "folkmoot_ends"),
    ({"extra": {"folkmoot_ends": 2}}, "folkmoot_ends"), ({"extra": {"folkmoot_bias": [1]}}, "folkmoot_bias"),
    ({"extra": {"folkmoot_bias": [3, 5, 2, 5]}}, "folkmoot_bias"),
    ({"extra": {"folkmoot_bias": [3, 100_001]}}, "folkmoot_bias"),
    ({"extra": {"folkmoot_bias": [1 << 18, 5]}}, "folkmoot_bias"),
    ({"extra": {"folkmoot_bias": [3, 1.5]}}, "folkmoot_bias"),
    ({"extra": {"folkmoot_repetition_milli": 99}}, "params"), ({"extra": {"folkmoot_seed_": 1}}, "folkmoot_seed_"),
    ({"extra": {"folkmoot_grammar_kind": "bnf", "folkmoot_grammar": "a"}}, "folkmoot_grammar_kind"),
    ({"extra": {"folkmoot_grammar_kind": "regex"}}, "folkmoot_grammar"),
    ({"extra": {"folkmoot_grammar_kind": "regex", "folkmoot_grammar": "a"}}, "folkmoot_ends"),
    ({"extra": {"folkmoot_ends": [2], "folkmoot_grammar_kind": "regex", "folkmoot_grammar": "("}}, "grammar"),
    ({"extra": {"folkmoot_ends": [2], "folkmoot_grammar_kind": "lark", "folkmoot_grammar": "start: x"}}, "grammar"),
    ({"extra": {"folkmoot_score_from": -1}}, "folkmoot_score_from"),
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
    params = Params(900, 12, 30, 950, -1500, 250, 1200, 7)
    grammar, bias = Grammar(GrammarKind.REGEX, "a+"), ((3, -500), (9, 100_000))
    seeded = replace(params, seed=b"\x01" * 32)
    job = Job((1, 2), 5, seeded, b"\x07" * 32, (3, 4, 5), (8, 9), (2, 7), bias, grammar)
    assert unpack(pack(job)) == TapeArgs(b"\x07" * 32, params, 5, (2, 7), bias, grammar)
    assert unpack(pack(Job((1,), 5, params, b"\x07" * 32))) == TapeArgs(b"\x07" * 32, params, 0)
    assert unpack(None) is None
    assert unpack({"folkmoot_score_from": 7}) is None
    assert [score_from({"folkmoot_score_from": value}) for value in (7, "x", -1)] == [7, 0, 0]
    assert score_from(None) == 0
    assert unpack({"other": 1}) is None
    with pytest.raises(InvalidRequest):
        unpack({"folkmoot_seed": "00" * 32, "folkmoot_top_k": True})


def test_a_grammar_that_cannot_be_compiled_ends_its_request_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What validate_params refuses does not come so far; if it does, the engine lives on."""
    tapes, builder = processor(), BatchUpdateBuilder()
    good = Live(1, Params(0), bytes(32), [1], 0, (), Grammar(GrammarKind.REGEX, "abc"))
    bad = Live(2, Params(0), bytes(32), [1], 0, (), Grammar(GrammarKind.LARK, "start: nothing"))
    for at, live in enumerate((good, bad)):
        builder.added.append((at, live.sampling(), live.prompt, live.output))
    tapes.update_state(builder.get_and_reset(2))
    after = tapes.apply(torch.zeros(2, VOCAB))
    assert torch.argmax(after, dim=1).tolist() == [BYTE_BASE + ord("a"), min(ENDS)]


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
