"""Which processor instructions an engine on a CPU uses. Law: the same on every machine, so that equal software gives equal bits.

A processor with matrix tiles (AMX) rounds a product otherwise for one row than for many, and otherwise than all processors without tiles: an
answer decoded alone would not have the bits of its prefill (decision 014), and the shipped calibration, made without tiles, would
not fit. So oneDNN is kept to AVX-512 with bfloat16, which gives the same bits with and without tiles, and vLLM to its kernels for it.
A processor that has less is not touched. Decision 047.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"  # oneDNN reads it once, at its first product
WIDEST: Final = "AVX512_CORE_BF16"


def without_tiles() -> None:
    """Before the first product of this process and its children. What the user has set stands."""
    os.environ.setdefault(VARIABLE, WIDEST)
