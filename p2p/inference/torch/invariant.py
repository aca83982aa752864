"""Kernels whose result does not depend on the size of a batch, where a machine has them. Law: it says what it found,
and changes nothing where there is nothing.

On a GPU the package `batch_invariant_ops` replaces torch's products and sums by such kernels, if it is installed.
Without it reduced precision in sums is switched off, which makes results closer, not equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import torch

PACKAGE = "batch_invariant_ops"


@contextmanager
def batch_invariant(device: torch.device) -> Iterator[str]:
    """For the block that follows; what is in force, for people."""
    if device.type != "cuda":
        yield "torch's own kernels (no GPU)"
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        if find_spec(PACKAGE) is None:
            yield f"torch's own kernels, sums in full precision ({PACKAGE} is not installed)"
            return
        with import_module(PACKAGE).set_batch_invariant_mode():
            yield f"batch-invariant kernels ({PACKAGE})"
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
