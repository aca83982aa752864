"""The reference kernel: what a row's numbers are does not depend on what is computed beside it, nor on how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2p.base.errors import ConfigError
from p2p.base.types import Params
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.inference.torch.reference import SAME, ReferenceModel
from p2p.verification.engine import Job
from tests.inference.torch.tiny import built

JOBS = [Job(tuple(range(100, 100 + 7 * at)), 24, Params(1000), bytes([at]) * 32) for at in range(1, 7)]


def llama() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49152, hidden_size=192, intermediate_size=320, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=3, max_position_embeddings=256, bos_token_id=1, eos_token_id=2,
    )


def spread(model: TorchModel) -> tuple[int, float]:
    """(tokens chosen otherwise when rows share a batch, largest difference of reading to decoding in nats)."""
    alone, together = generate_all(model, JOBS, max_rows=1), generate_all(model, JOBS, max_rows=6)
    other = sum(a.token != b.token or a.logprob != b.logprob for one, two in zip(alone, together, strict=True)
                for a, b in zip(one, two, strict=False))
    pairs = [(job.prompt_tokens, [step.token for step in steps]) for job, steps in zip(JOBS, alone, strict=True)]
    read = model.prefill_rows_batch(pairs, top=8)
    return other, max(abs(row[step.token] - step.logprob) for steps, rows in zip(alone, read, strict=True)
                      for step, row in zip(steps, rows, strict=True))


def test_batches_reading_and_threads_change_nothing(tmp_path: Path) -> None:
    folder = built(tmp_path, llama())
    found = [spread(ReferenceModel(folder, threads=threads)) for threads in (1, 2)]
    assert [other for other, _ in found] == [0, 0]
    assert max(off for _, off in found) < SAME
    plain_other, plain_off = spread(TorchModel(folder, device="cpu", threads=2))
    assert plain_other + (plain_off > SAME) > 0, "else this test could not fail"


def test_it_is_close_to_the_model_itself(tmp_path: Path) -> None:
    folder = built(tmp_path, llama())
    exact, plain = (made.prefill_rows((3, 4, 5), (6, 7, 8), top=4) for made in (
        ReferenceModel(folder, threads=1), TorchModel(folder, dtype="float32", device="cpu", threads=1)
    ))
    assert all(abs(a[t] - b[t]) < 0.3 for t, a, b in zip((6, 7, 8), exact, plain, strict=True)), (exact, plain)


def test_a_part_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config

    config = GPT2Config(
        vocab_size=49152, n_embd=32, n_layer=1, n_head=2, n_positions=128, bos_token_id=1, eos_token_id=2
    )
    with pytest.raises(ConfigError, match="does not know"):
        ReferenceModel(built(tmp_path, config), threads=1)
