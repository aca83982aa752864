"""The tape's choice over a whole vocabulary, fast. Law: the token of argmax(SamplingState.scores(...)), with less
arithmetic.

A token can win only if its value plus the largest possible noise beats a bar that some token surely reaches. Tokens
far below the bar need a rare large random word, so logarithms are computed only for the few that have one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from p2p.verification import tape
from p2p.verification.sampling import Ids, SamplingState

NOISE_MAX = -math.log(-math.log((2.0**32 - 0.5) / 2.0**32)) + 1e-6  # nats: the noise of the largest 32-bit word
FAR = 7.0  # nats: a token further below the bar is tried by its word first
DENSE = 512  # with more candidates, computing the words of the whole vocabulary is cheaper
_WORD = np.uint64(math.floor(math.exp(-math.exp(-FAR)) * 2.0**32) - 1)  # noise >= FAR needs a word at least this large


def pick(logprobs: tape.Floats, state: SamplingState, seed: bytes) -> int:
    """The token that the tape chooses next. logprobs: (vocab,), log-probabilities. state: before that token."""
    params, position = state.sampling.params, len(state.output)
    # scores() adds the noise last, so with none it gives masked values / T
    values = state.scores(logprobs, whole(logprobs.size), np.zeros(1))
    best = int(np.argmax(values))
    if params.temperature_milli == 0:
        return best
    bar = float(values[best] + tape.gumbel_at(seed, position, [best])[0])
    able = values >= bar - NOISE_MAX
    if np.count_nonzero(able) > DENSE:
        able &= (values >= bar - FAR) | (tape.words_row(seed, position, values.size) >= _WORD)
    tokens = np.flatnonzero(able)
    if not tokens.size:
        return best
    return int(tokens[np.argmax(values[tokens] + tape.gumbel_at(seed, position, tokens.tolist()))])


@lru_cache(maxsize=2)
def whole(vocabulary: int) -> Ids:
    """All token ids; the same array each time."""
    return np.arange(vocabulary, dtype=np.int64)
