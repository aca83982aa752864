"""The script for a GPU, on a tiny model and the CPU: what it writes is what `across.py` reads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from p2p.inference.torch import invariant
from p2p.inference.torch.invariant import batch_invariant
from p2p.lab.measure import across
from p2p.lab.measure.gpu_run import BATCHES, answer, decode_against_prefill
from p2p.lab.measure.store import Measured
from p2p.verification.prompts import Prompt
from tests.inference.torch.tiny import tiny

PROMPTS = tuple(Prompt(f"p{i}", "plain", "question " * (i + 1), 6) for i in range(5))
STACK = "torch-cpu-float32"


class Words:
    """Tokens of a body, without a tokenizer."""

    def prompt(self, body: Any) -> tuple[int, ...]:
        return tuple(10 + at for at in range(len(str(body)) % 17 + 3))


def test_it_answers_at_both_batch_sizes_and_scores_on_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, words = Measured(tmp_path), Words()
    answer(measured, tiny(), words, PROMPTS, 6, time.monotonic() + 3600)  # type: ignore[arg-type]
    assert measured.names() == sorted(f"{STACK}=honest_b{batch}" for batch in BATCHES)
    monkeypatch.setattr(across, "prepare_model", lambda: tmp_path)
    monkeypatch.setattr(across, "weights_hash", lambda path: bytes(32))
    monkeypatch.setattr(type(tiny()), "device_name", "CPU")
    across.score(measured, tiny())
    lines = list(decode_against_prefill(measured, STACK))
    assert len(lines) == 2
    assert all("same to rounding 1.0000" in line and "lost the tape 0.00000" in line for line in lines), lines
    rows = [line for line in across.table(measured) if line.startswith(STACK + "=")]
    assert [row.split()[2].partition("/")[0] for row in rows] == ["0", "0"], "honest on its own machine"
    capsys.readouterr()
    answer(measured, tiny(), words, PROMPTS, 6, 0.0)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "", "what is there is not run again"


def test_nothing_begins_after_the_time_is_up(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    answer(measured, tiny(), Words(), PROMPTS, 4, time.monotonic() - 1)  # type: ignore[arg-type]
    counts = {batch: len(measured.answers(f"{STACK}=honest_b{batch}")) for batch in BATCHES}
    assert counts == {16: len(PROMPTS), 1: 1}, "one pass of each, so that there is something to compare"


def test_it_says_which_kernels_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    with batch_invariant(torch.device("cpu")) as kernels:
        assert "no GPU" in kernels
    monkeypatch.setattr(invariant, "find_spec", lambda name: None)
    with batch_invariant(torch.device("cuda")) as kernels:
        assert "not installed" in kernels
        assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
