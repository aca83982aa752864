"""Models that are built in other ways than the small one compute here what transformers computes.

They are tiny and have random weights: layers with a sliding window between layers without (Gemma 3), experts
(Mixtral), capped logits (Gemma 2, which is refused). Marker `engine`: Gemma 3 270M itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2p.base.body import Body, TextPrompt, one_message
from p2p.base.errors import ConfigError
from p2p.base.types import Params
from p2p.inference.stack.gemma import NAME
from p2p.inference.stack.model import cache_root
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.text.model_files import describe
from p2p.verification.engine import Job
from tests.inference.torch.tiny import built

SEED = b"\x07" * 32
WINDOW = 16
NEAR = 2e-4  # nats in float32: sums in another order


def gemma(kind: str = "Gemma3TextConfig", **more: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(
        vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, max_position_embeddings=256, sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], bos_token_id=1, eos_token_id=2,
        pad_token_id=0, **more,
    )


def mixtral() -> Any:
    from transformers import MixtralConfig

    return MixtralConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256,
        sliding_window=None, bos_token_id=1, eos_token_id=2,
    )


@pytest.mark.parametrize("config", [gemma, mixtral], ids=["sliding window", "experts"])
def test_it_computes_what_transformers_computes(tmp_path: Path, config: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = TorchModel(built(tmp_path, config()), dtype="float32", device="cpu", threads=1)
    prompts = [tuple(range(100, 100 + length)) for length in (3, WINDOW - 2, 2 * WINDOW + 5)]
    jobs = [Job(prompt, 2 * WINDOW, Params(1000), bytes([at]) * 32) for at, prompt in enumerate(prompts)]
    found = generate_all(model, jobs, max_rows=2)  # one joins while another runs
    theirs = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32, attn_implementation="eager")
    for job, steps in zip(jobs, found, strict=True):
        output = [step.token for step in steps]
        rows = model.prefill_rows(job.prompt_tokens, output, 8)
        with torch.inference_mode():
            right = theirs(torch.tensor([[*job.prompt_tokens, *output]])).logits[0].log_softmax(-1)
        for at, (step, row) in enumerate(zip(steps, rows, strict=True)):
            wanted = float(right[len(job.prompt_tokens) + at - 1, step.token])
            assert abs(row[step.token] - wanted) < NEAR, "prefill"
            assert abs(step.logprob - wanted) < NEAR, "decode"


def test_a_model_whose_attention_is_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="softcap is not supported by the torch engine; serve this model with vLLM"):
        TorchModel(built(tmp_path, gemma("Gemma2Config")), dtype="float32", device="cpu")


def test_a_model_whose_logits_are_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not compute this model's logits as transformers does"):
        TorchModel(
            built(tmp_path, gemma("Gemma2Config", attn_logit_softcapping=None)), dtype="float32", device="cpu"
        )


@pytest.mark.engine
def test_gemma_answers_by_the_tape() -> None:
    folder = cache_root() / NAME
    if not folder.exists():
        pytest.skip(f"{folder} is not prepared; make test does it")
    model, facts = TorchModel(folder, device="cpu", threads=1), describe(folder)
    assert model.eos_ids == frozenset(facts.eos_ids)
    # a long prompt, beyond the sliding window; a conversation; a text
    story = "The treaty joined the two kingdoms in 1707. " * 60
    asked = [
        Job(facts.text.prompt(Body(TextPrompt(story))), 6, Params(0), SEED, ends=facts.eos_ids),
        Job(facts.text.prompt(one_message("What is the capital of France?")), 8, Params(0), SEED, ends=facts.eos_ids),
        Job(facts.text.prompt(Body(TextPrompt("One, two, three,"))), 8, Params(800), SEED, ends=facts.eos_ids),
    ]
    assert len(asked[0].prompt_tokens) > facts.sliding_window + 100
    found = generate_all(model, asked)
    text = ["".join(step.text for step in steps) for steps in found]
    assert "treaty" in text[0]
    assert "Paris" in text[1]
    for job, steps in zip(asked, found, strict=True):
        rows = model.prefill_rows(job.prompt_tokens, [step.token for step in steps], 8)
        off = [abs(step.logprob - row[step.token]) for step, row in zip(steps, rows, strict=True)]
        assert float(np.mean(off)) < 0.1, "decode and prefill see the same tokens"
    ended = generate_all(model, [_forced(asked[1], facts.eos_ids[0])])[0]
    assert [step.token for step in ended] == [facts.eos_ids[0]], "its own end token ends the answer"


def _forced(job: Job, token: int) -> Job:
    from dataclasses import replace

    return replace(job, bias=((token, 100_000),))


