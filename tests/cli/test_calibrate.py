"""`folkmoot calibrate`: which engines answer, and which read. What is measured has tests of its own (tests/lab)."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p.cli.main import main
from p2p.lab.measure.collect import Collector
from p2p.lab.measure.plan import TORCH, VLLM
from p2p.verification import profile


@pytest.mark.parametrize(("stack", "answers", "reads"), [
    ("both", {VLLM, TORCH}, {VLLM, TORCH}), ("vllm", {VLLM}, {VLLM, TORCH}), ("torch", {TORCH}, {TORCH}),
])
def test_vllms_answers_are_always_read_by_a_second_stack(
    stack: str, answers: set[str], reads: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the profile had no limits for contexts in which vLLM's kernels are not exact, and for other kernels."""
    asked: list[Collector] = []

    async def nothing(self: Collector) -> None:
        asked.append(self)

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(Collector, "all", nothing)
    monkeypatch.setattr("p2p.lab.measure.bench.prepare", lambda *given, **options: None)
    made = profile.shipped("SmolLM2-135M-Instruct")
    monkeypatch.setattr("p2p.lab.measure.profiles.make", lambda *given, **options: made)
    monkeypatch.setattr("p2p.inference.stack.model.weights_hash", lambda folder: bytes(32))
    assert main(["calibrate", str(tmp_path), "--stack", stack, "--work", str(tmp_path / "work")]) == 0
    assert {run.stack for run in asked[0].runs} == answers
    assert set(asked[0].stacks) == reads
