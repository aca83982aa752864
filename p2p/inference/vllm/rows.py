"""The same bits for a token whether it is decoded alone, in a batch or in a prefill: on a CPU. Law: one row is computed as two.

oneDNN takes another kernel for a product with one row (a matrix times a vector), which adds up long rows in another order; with two rows
and more it gives every row the same bits (tests/inference/vllm/test_rows.py). One rounding that differs in one layer moves log-probabilities by up
to 0.3 nats at the end. Everything else on a token's way (attention, norms) is already the same for every batch. A second row costs
nothing that can be measured: the product is bound by reading the weights. Decision 014. On a GPU vLLM has a mode of its own for this
(VLLM_BATCH_INVARIANT).
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch.nn.functional import pad
from vllm import _custom_ops as ops


def keep_bits() -> None:
    """Make vLLM's oneDNN product independent of the number of rows, in this process; a second call changes nothing. Its attention does without
    matrix tiles, as the products do (instructions.py)."""
    torch.cpu._is_amx_tile_supported = lambda: False  # what vLLM chooses its attention by
    product = getattr(ops, "onednn_mm", None)
    if product is None or hasattr(product, "__wrapped__"):
        return

    @wraps(product)
    def onednn_mm(handler: Any, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if x.numel() != handler.k:
            return product(handler, x, bias)
        twice: torch.Tensor = product(handler, pad(x.reshape(1, handler.k), (0, 0, 0, 1)), bias)
        return twice[:1].reshape(*x.shape[:-1], handler.n)

    ops.onednn_mm = onednn_mm
