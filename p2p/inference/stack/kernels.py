"""Which kernels an ML node computes with, told by what they compute. Law: equal names, equal bits (decision 014).

With our patch vLLM gives a token the same bits in every batch (vllm/rows.py), but only among nodes with the same
kernels: another instruction set or version rounds differently. An honest host with other kernels must not be measured
as if it had no rounding noise. So a stack's name ends in a hash of what a fixed probe gave:
`vllm-cpu-bf16#3fa9c1d20b7e`. Thirty layers at PROBE_TOKENS positions are tens of thousands of roundings; two kernels
that agree in all of them are the same for our purpose.

The name is a claim, like all else in an artifact's header. A host that names kernels it does not have is measured with
less noise than it makes; one that names kernels nobody knows is measured as a stranger.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.errors import Unavailable
from p2p.base.keys import digest
from p2p.verification.engine import Engine
from p2p.verification.profile import KERNELS_MARK

PROBE_TOKENS, PROBE_TOP = 96, 8  # positions, and candidates at each
# coarse enough that the order of a float32 sum does not show, far finer than one rounding in bfloat16
STEPS_PER_NAT = 1024
MARK_DIGITS = 12  # hexadecimal digits of the hash in a name
_PROBE = tuple((31 * at * at + 7 * at + 11) % 997 for at in range(PROBE_TOKENS))  # ids that every vocabulary has


async def stack_name(engine: Engine, family: str) -> str:
    """`family` with the mark of this engine's kernels and weights. When the engine does not answer: the bare
    family, which is measured as a stranger."""
    try:
        rows = await engine.score(_PROBE[:1], _PROBE[1:], PROBE_TOP)
    except Unavailable:
        return family
    seen = [sorted((token, round(logprob * STEPS_PER_NAT)) for token, logprob in row.items()) for row in rows]
    return f"{family}{KERNELS_MARK}{digest(b'kernels', encode(seen)).hex()[:MARK_DIGITS]}"
