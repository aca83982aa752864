"""The validator set and whose turn it is. Law: integers, sorted by key; thresholds 3w > 2W (quorum) and 3w > W (honest).

Proposer: weighted round robin with priorities (CometBFT's proposer-selection specification): rescale to a spread of 2 W,
centre on 0 (average rounded down), add each weight, the highest (ties: lower key) is elected and pays W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p.codec import decode, encode
from p2p.verification.merkle import root


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """members: (key, weight > 0), ascending by key."""

    members: tuple[tuple[bytes, int], ...]

    @classmethod
    def of(cls, members: Sequence[tuple[bytes, int]]) -> ValidatorSet:
        return cls(tuple(sorted((k, w) for k, w in members if w > 0)))

    @property
    def total(self) -> int:
        return sum(weight for _, weight in self.members)

    def weight(self, key: bytes) -> int:
        return dict(self.members).get(key, 0)

    def __contains__(self, key: bytes) -> bool:
        return self.weight(key) > 0

    def is_quorum(self, weight: int) -> bool:
        return 3 * weight > 2 * self.total

    def has_honest(self, weight: int) -> bool:
        return 3 * weight > self.total

    def hash(self) -> bytes:
        """RFC 6962 root over the encoded members: what a header carries."""
        return root([encode([key, weight]) for key, weight in self.members])


Priorities = dict[bytes, int]


def load_priorities(raw: bytes, members: ValidatorSet) -> Priorities:
    """Priorities as stored; newcomers start at -1.125 W, those who left are forgotten."""
    stored: Priorities = dict(decode(raw)) if raw else {}
    if not stored:
        return {key: 0 for key, _ in members.members}
    total = members.total
    return {key: stored.get(key, -(total + total // 8)) for key, _ in members.members}


def dump_priorities(priorities: Priorities) -> bytes:
    return encode([[key, value] for key, value in sorted(priorities.items())])


def advance(members: ValidatorSet, priorities: Priorities) -> tuple[bytes, Priorities]:
    """One election: (proposer, priorities after it)."""
    total = members.total
    current = dict(priorities)
    spread, window = max(current.values()) - min(current.values()), 2 * total
    if spread > window:
        ratio = -(-spread // window)
        # division towards zero, as the specification's reference does
        current = {k: (abs(p) // ratio) * (1 if p >= 0 else -1) for k, p in current.items()}
    average = sum(current.values()) // len(current)
    weights = dict(members.members)
    current = {k: p - average + weights[k] for k, p in current.items()}
    elected = min(current, key=lambda k: (-current[k], k))
    current[elected] -= total
    return elected, current


def proposer(members: ValidatorSet, priorities: Priorities, round_: int) -> bytes:
    """Proposer of round `round_`, from the priorities at the height's start."""
    elected = b""
    for _ in range(round_ + 1):
        elected, priorities = advance(members, priorities)
    return elected
