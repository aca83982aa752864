"""A validator's row with two tokens named from the whole vocabulary. Law: exact; what the engine that scores computes
itself needs no bound.

The likeliest tokens of a row need not have the one that the tape takes: a grammar may leave unlikely tokens only, a
bias or a penalty may move others above them. So where a request lifts tokens (Sampling.lifts), the engine that scores
an answer replays its sampling on the whole row, and names the token that the tape takes there and the least one inside
the masks. Each side of a comparison is then known: nothing that a host takes instead is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from p2p.base.body import Body
from p2p.verification import tape
from p2p.verification.artifact import Artifact
from p2p.verification.engine import Engine, Job, Row
from p2p.verification.pick import pick, whole
from p2p.verification.sampling import Sampling, SamplingState

MARKS = 2  # tokens of a row that a replay names


class MarkedRow(dict[int, float]):
    """A row that has `winner`, the token that the tape takes, and `least`, the lowest one inside the masks; where
    there is no mask, the winner again."""

    __slots__ = ("least", "winner")

    def __init__(self, row: Mapping[int, float], winner: int, least: int) -> None:
        """Raises KeyError where `row` lacks one of them."""
        super().__init__(row)
        self.winner, self.least = winner, least
        _ = row[winner], row[least]


def marks(logprobs: tape.Floats, state: SamplingState, seed: bytes) -> tuple[int, int]:
    """(winner, least) of one position. logprobs: of the whole vocabulary. state: before that position."""
    winner = pick(logprobs, state, seed)
    if not is_masked(state.sampling):
        return winner, winner
    values = state.scores(logprobs, whole(logprobs.size), np.zeros(1))
    return winner, int(np.argmin(np.where(np.isfinite(values), values, np.inf)))


def is_masked(sampling: Sampling) -> bool:
    """Whether top-k, top-p or min-p leave tokens out."""
    params = sampling.params
    return bool(params.temperature_milli and (params.top_k or params.top_p_milli < 1000 or params.min_p_milli))


async def rows_of(
    engine: Engine, prompt: Sequence[int], artifact: Artifact, body: Body, sampling: Sampling, top: int
) -> tuple[Row, ...]:
    """One prefill of an answer: a row for each of its tokens, marked where the sampling lifts some. prompt: token ids,
    those of body.begun included."""
    if not sampling.lifts:
        return await engine.score(prompt, artifact.tokens, top)
    header, begun = artifact.header, body.begun_tokens
    job = Job(
        tuple(prompt[: len(prompt) - len(begun)]), header.length, header.params, header.seed, artifact.tokens, begun,
        tuple(sorted(sampling.ends)), body.bias, body.grammar,
    )
    return await engine.replay(job, top)
