"""Which kernels an ML node computes with, told by what they compute. Law: equal names, equal bits (decision 014).

vLLM gives a token the same bits in every batch (vllm_rows.py), but only among nodes with the same kernels: another instruction set or
another version rounds differently, and an honest host with other kernels must not be measured by noise that is nil. So a stack's name
ends in what a fixed probe came out as: `vllm-cpu-bf16#3fa9c1d20b7e`. Thirty layers and PROBE_TOKENS positions are tens of thousands of
roundings; two kernels that agree in all of them are the same for our purpose. It is a claim like all others in an artifact's header:
who names kernels that are not his is measured by less noise than he makes; who names unknown ones is measured as a stranger.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.errors import Unavailable
from p2p.base.keys import digest
from p2p.verification.engine import Engine
from p2p.verification.profile import KERNELS_MARK

PROBE_TOKENS, PROBE_TOP = 96, 8
STEPS_PER_NAT = 1024  # coarse enough that the order of a float32 sum does not show, far finer than one rounding in bfloat16
_PROBE = tuple((31 * at * at + 7 * at + 11) % 997 for at in range(PROBE_TOKENS))  # ids that every vocabulary has


async def stack_name(engine: Engine, family: str) -> str:
    """`family` with the mark of this engine's kernels and weights; the bare family, a stranger to all, when it does not answer."""
    try:
        rows = await engine.score(_PROBE[:1], _PROBE[1:], PROBE_TOP)
    except Unavailable:
        return family
    seen = [sorted((token, round(logprob * STEPS_PER_NAT)) for token, logprob in row.items()) for row in rows]
    return f"{family}{KERNELS_MARK}{digest(b'kernels', encode(seen)).hex()[:12]}"
