"""The parameters that clients use, drawn at random.

Law: pure; what is asked is a function of a seed, the run's salt and the prompt, so a figure can be made again. Each
draw passes the rule that an agent applies (base/sampling_params.py).

A profile that was only made at temperature 1 without masks convicts honest hosts whose clients use them. So honest
noise is measured, and judged, over the whole space: temperature 0 to 2, every mask and penalty, both signs, biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p2p.base.keys import digest
from p2p.base.sampling_params import check_params
from p2p.base.serving_limits import MAX_TOP_K
from p2p.base.types import Params

MOST_BIASES = 4  # tokens of one request
MOST_MIN_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """How one answer is asked for."""

    params: Params
    bias: tuple[tuple[int, int], ...] = ()  # (token id, thousandths of a nat), ids rising


def draw(seed: int, salt: str, prompt: str, prompt_tokens: Sequence[int]) -> Asked:
    """What a client asks for, with the question `prompt` (its id). prompt_tokens: under the chat template; biases name
    tokens of them, for these a model is likely to use."""
    key = digest(b"parameter space", seed.to_bytes(8, "big"), salt.encode(), prompt.encode())
    rng = np.random.default_rng(int.from_bytes(key[:16], "big"))

    def happens(chance: float) -> bool:
        return bool(rng.random() < chance)

    def between(low: int, high: int, *, even: bool = False) -> int:
        """A whole number, evenly in itself or in its logarithm."""
        if even:
            return int(rng.integers(low, high + 1))
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    temperature = 0 if happens(0.08) else 1000 if happens(0.2) else between(50, 2000, even=True)
    top_k = between(1, MAX_TOP_K) if happens(0.55) else between(MAX_TOP_K + 1, 1000) if happens(0.1) else 0
    top_p = between(50, 995, even=True) if 1 <= top_k <= MAX_TOP_K and happens(0.55) else 1000
    params = Params(
        temperature, top_k, between(3, 600) if happens(0.35) else 0, top_p,
        between(-2000, 2000, even=True) if happens(0.25) else 0,
        between(-2000, 2000, even=True) if happens(0.25) else 0,
        between(300, 3000) if happens(0.2) else 1000,
        between(1, MOST_MIN_TOKENS) if happens(0.1) else 0,
    )
    check_params(params)
    bias = dict[int, int]()
    if happens(0.2):
        for at in rng.integers(0, len(prompt_tokens), between(1, MOST_BIASES, even=True)):
            size = 100_000 if happens(0.1) else between(100, 6000)
            bias[int(prompt_tokens[at])] = -size if happens(0.5) else size
    return Asked(params, tuple(sorted(bias.items())))
