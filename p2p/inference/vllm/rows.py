"""Batch invariance on a CPU: a token has the same bits decoded alone, in a batch or in a prefill. Law: one row is
computed as two.

oneDNN uses another kernel for a product with one row (matrix times vector), which sums long rows in another order.
With two or more rows it gives every row the same bits (tests/inference/vllm/test_rows.py). One rounding that differs
in one layer moves log-probabilities by up to 0.3 nats at the end. All other operations (attention, norms) are
batch-invariant already. A second row costs nothing measurable, because the product is bound by reading the weights
(decision 014). On a GPU vLLM has its own mode for this (VLLM_BATCH_INVARIANT).
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch.nn.functional import pad
from vllm import _custom_ops as ops


def keep_bits() -> None:
    """Make vLLM's oneDNN product in this process independent of the number of rows, and its attention use no matrix
    tiles, like the products (stack/instructions.py). A second call changes nothing."""
    torch.cpu._is_amx_tile_supported = lambda: False  # vLLM chooses its attention by this
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
