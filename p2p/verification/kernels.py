"""Which kernels made an answer, by its numbers. Law: pure; what an executor names is a claim, its numbers are evidence.

Equal kernels give the same bits, so published numbers are then the validator's own, rounded. Other kernels differ by
some hundredths of a nat, and hardly any number is the same (decision 068).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from p2p.verification.artifact import CHOSEN_STEPS_PER_NAT, Artifact, Position
from p2p.verification.profile import Profile

# Rounding of what is published, and of an engine's own float32 sums.
SAME = 0.5 / CHOSEN_STEPS_PER_NAT + 1e-4  # nats
UNSURE = -0.05  # nats; where a model is sure all kernels say 0, which tells nothing
LEAST = 12  # unsure tokens that are looked at, at least; with fewer nothing is said
EQUAL_SHARE, OTHER_SHARE = 0.95, 0.5  # of them, that must be the same, or at most may be


class Shown(StrEnum):
    """What the numbers show."""

    EQUAL = "equal"  # the validator's own kernels
    OTHER = "other"  # not these
    UNCLEAR = "unclear"


def shown(positions: Sequence[Position], rows: Sequence[Mapping[int, float]]) -> Shown:
    """What the published numbers of these tokens show. rows: the validator's, one for each position, each with the
    chosen token."""
    pairs = [(at.logprob, row[at.token]) for at, row in zip(positions, rows, strict=True) if at.token in row]
    unsure = [(published, own) for published, own in pairs if own < UNSURE]
    if len(unsure) < LEAST:
        return Shown.UNCLEAR
    same = sum(abs(published - own) <= SAME for published, own in unsure) / len(unsure)
    return Shown.EQUAL if same >= EQUAL_SHARE else Shown.OTHER if same <= OTHER_SHARE else Shown.UNCLEAR


@dataclass(frozen=True, slots=True)
class Kernels:
    """By which kernels an answer is judged."""

    stack: str  # the executor's, for the profile's tables
    equal: bool  # they are the validator's own, so its exact rules hold
    refuted: bool = False  # the executor names the validator's own kernels, and its numbers are of others


def judged_as(
    profile: Profile, own: str, artifact: Artifact, rows: Sequence[Mapping[int, float]]
) -> Kernels:
    """The executor's kernels by its own numbers, and by its word where these leave it open. own: the validator's stack.
    rows: its own, of all positions."""
    header = artifact.header
    first, named, context = header.taken_over, header.stack, header.context
    whole = len(rows) == artifact.length
    seen = shown(artifact.positions()[first:], rows[first:]) if whole else Shown.UNCLEAR
    if seen is Shown.EQUAL and profile.equal(own, own, context=context):
        return Kernels(own, equal=True)
    equal = profile.equal(named, own, context=context)
    return Kernels(named, equal, refuted=equal and seen is Shown.OTHER)
