"""Which processor instructions an engine on a CPU uses. Law: the same on every machine, so that equal software gives
equal bits.

A processor with matrix tiles (AMX) rounds a product of one row differently from one of many rows, and differently from
all processors without tiles. An answer decoded alone would not have the bits of its prefill (decision 014), and the
calibration that is shipped, made without tiles, would not fit. So oneDNN is limited to AVX-512 with bfloat16, which
gives the same bits on processors with and without tiles, and vLLM uses its kernels for that. Processors that have less
than AVX-512 are not affected (decision 047).
"""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"  # oneDNN reads it once, at its first product
WIDEST: Final = "AVX512_CORE_BF16"


def without_tiles() -> None:
    """Limit oneDNN in this process and its children. Call it before the first product; what the user has set stays."""
    os.environ.setdefault(VARIABLE, WIDEST)
