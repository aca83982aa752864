"""Invented numbers that stage 0 cannot refuse.

Law: pure; shared by the attacks that lie about log-probabilities.

The tape's noise is public, so a liar can choose numbers under which any token it likes wins:
log p_i < log p_chosen + T (g_chosen - g_i).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from p2p.base.serving_limits import TOP_RANKS
from p2p.verification import tape
from p2p.verification.engine import Job, TokenStep

SLACK = 0.10  # nats: more than an artifact's quantisation (1/16) can turn round


def winning(step: TokenStep, job: Job, position: int, logprob: float, wanted: Sequence[tuple[int, float]]) -> TokenStep:
    """`step`'s token with log-probability `logprob`, and candidates under which it wins the tape at `position`.

    The candidates' log-probabilities are as near to `wanted` as that allows. Where the masses would sum to more than 1
    they are scaled down; scaling shifts all scores alike, so the winner stays.
    """
    others = [pair for pair in wanted if pair[0] != step.token][: TOP_RANKS - 1]
    heat = job.params.temperature_milli / 1000.0
    noise = tape.gumbel_at(
        job.seed, position, [step.token, *(token for token, _ in others)]
    ) if heat else [0.0] * (len(others) + 1)
    top = [(step.token, logprob)]
    for (token, value), g in zip(others, noise[1:], strict=True):
        top.append((token, min(value, logprob + heat * float(noise[0] - g) - SLACK)))
    mass = math.log(sum(math.exp(value) for _, value in top))
    shift = max(mass + 1e-4, 0.0)
    ranked = sorted(((token, value - shift) for token, value in top), key=lambda pair: (-pair[1], pair[0]))
    return TokenStep(step.token, step.text, logprob - shift, tuple(ranked))
