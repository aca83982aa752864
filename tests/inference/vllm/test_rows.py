"""vLLM's oneDNN product: a row's bits do not depend on its company, once single rows are computed as two."""

from __future__ import annotations

import pytest
import torch
from vllm import _custom_ops as ops

from p2p.inference.vllm.rows import keep_bits

SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))  # the products of SmolLM2-135M, outputs by inputs
ROWS = 256
pytestmark = pytest.mark.skipif(
    not getattr(ops, "_supports_onednn", False), reason="this vLLM multiplies without oneDNN"
)


def products(shape: tuple[int, int], size: int) -> torch.Tensor:
    """The same rows, `size` at a time."""
    torch.manual_seed(7)
    weight = (torch.randn(shape) * 0.05).bfloat16()
    rows = (torch.randn(ROWS, shape[1]) ** 3).bfloat16()  # heavy tails: sums whose order matters
    handler = ops.create_onednn_mm(weight.t(), 32)
    return torch.cat([ops.onednn_mm(handler, rows[at : at + size].contiguous(), None) for at in range(0, ROWS, size)])


@pytest.fixture
def whole_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done to vLLM here is undone after the test."""
    original = ops.onednn_mm
    while hasattr(original, "__wrapped__"):
        original = original.__wrapped__
    monkeypatch.setattr(ops, "onednn_mm", original)


@pytest.mark.usefixtures("whole_vllm")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_of_rows_gives_the_same_bits(shape: tuple[int, int]) -> None:
    keep_bits()
    keep_bits()
    together = products(shape, ROWS)
    for size in (1, 2, 3, 5, 16, 64):
        assert torch.equal(products(shape, size), together), f"{size} rows at once"


@pytest.mark.usefixtures("whole_vllm")
def test_threads_do_not_matter() -> None:
    keep_bits()
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(products((576, 1536), 1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.usefixtures("whole_vllm")
def test_shape_and_bias_of_a_single_row_are_kept() -> None:
    keep_bits()
    handler = ops.create_onednn_mm(torch.eye(64).bfloat16(), 32)
    row, bias = torch.arange(64.0).bfloat16(), torch.ones(64).bfloat16()
    for shape in ((64,), (1, 64), (1, 1, 64)):
        found = ops.onednn_mm(handler, row.reshape(shape), bias)
        assert found.shape == shape
        assert torch.equal(found.flatten(), row + 1)
