"""The validator set and the proposer of each round. Law: integers only, sorted by key; 3w > 2W is a quorum, 3w > W has
an honest validator.

The proposer is elected by weighted round robin with priorities, as CometBFT's proposer-selection specification says:
scale the priorities to a spread of at most 2 W, centre them on 0 (average rounded down), add to each its weight; the
highest is elected (of equals the lower key) and pays W, the total weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from p2p.base.codec import decode, encode
from p2p.base.limits import MAX_TURNS
from p2p.base.merkle import root


@dataclass(frozen=True)
class ValidatorSet:
    """members: (key, weight > 0), ascending by key."""

    members: tuple[tuple[bytes, int], ...]

    @staticmethod
    def of(members: Sequence[tuple[bytes, int]]) -> ValidatorSet:
        return _interned(tuple(members))

    @cached_property
    def total(self) -> int:
        return sum(weight for _, weight in self.members)

    @cached_property
    def _by_key(self) -> dict[bytes, int]:
        return dict(self.members)

    def weight(self, key: bytes) -> int:
        return self._by_key.get(key, 0)

    def __contains__(self, key: bytes) -> bool:
        return self.weight(key) > 0

    def is_quorum(self, weight: int) -> bool:
        """More than two thirds."""
        return 3 * weight > 2 * self.total

    def has_honest(self, weight: int) -> bool:
        """More than a third, so that at least one of them is honest."""
        return 3 * weight > self.total

    @cached_property
    def _hash(self) -> bytes:
        return root([encode([key, weight]) for key, weight in self.members])

    def hash(self) -> bytes:
        """The RFC 6962 Merkle root over the encoded members, as in a header."""
        return self._hash


@lru_cache(maxsize=256)
def _interned(members: tuple[tuple[bytes, int], ...]) -> ValidatorSet:
    """One object per set, which keeps its hash: a set lives for an epoch and is needed with every block."""
    return ValidatorSet(tuple(sorted((k, w) for k, w in members if w > 0)))


Priorities = dict[bytes, int]  # by key


def first_priorities(members: ValidatorSet) -> Priorities:
    """The priorities of a first set: all alike, so centring leaves 0."""
    return {key: 0 for key, _ in members.members}


def centre(priorities: Priorities, total: int) -> Priorities:
    """Scale the spread to at most 2 W (dividing towards zero), then subtract the average (rounded down)."""
    current = dict(priorities)
    spread, window = max(current.values()) - min(current.values()), 2 * total
    if spread > window > 0:
        ratio = -(-spread // window)
        current = {k: (abs(p) // ratio) * (1 if p >= 0 else -1) for k, p in current.items()}
    average = sum(current.values()) // len(current)
    return {k: p - average for k, p in current.items()}


def increment(members: ValidatorSet, priorities: Priorities, times: int) -> tuple[bytes, Priorities]:
    """`times` elections after one centring: (the key elected last, the priorities after it)."""
    current = centre(priorities, members.total)
    elected = b""
    for _ in range(times):
        elected, current = elect(members, current)
    return elected, current


def elect(members: ValidatorSet, priorities: Priorities) -> tuple[bytes, Priorities]:
    """One election without centring: (the key elected, the priorities after it)."""
    current = {key: priorities[key] + weight for key, weight in members.members}
    elected = min(current, key=lambda k: (-current[k], k))
    current[elected] -= members.total
    return elected, current


def update(old: ValidatorSet, new: ValidatorSet, priorities: Priorities) -> Priorities:
    """The priorities after a change of the set: those who stay keep theirs, newcomers start at -1.125 times the
    weight before removals, then all are centred."""
    leaving = sum(weight for key, weight in old.members if key not in new)
    start = new.total + leaving
    current = {key: priorities.get(key, -(start + (start >> 3))) for key, _ in new.members}
    return centre(current, new.total)


class ProposerSchedule:
    """The proposer of each round of one height. All calls together cost at most MAX_TURNS elections, whatever is asked.

    Round 0 is the height's own election and each later round one more, held when it is first asked for. From round
    MAX_TURNS on the schedule repeats. No honest network comes near it, and a number in a message must not cause
    work."""

    def __init__(self, members: ValidatorSet, priorities: Priorities) -> None:
        """priorities: those before this height's own election."""
        elected, self._current = increment(members, priorities, 1)
        self._members, self._elected, self.elections = members, [elected], 1

    def __call__(self, round_: int) -> bytes:
        place = round_ % MAX_TURNS
        while len(self._elected) <= place:
            # the priorities are centred once more before round 1 only: the rule of this chain since its first block
            centred = self._current if len(self._elected) > 1 else centre(self._current, self._members.total)
            elected, self._current = elect(self._members, centred)
            self._elected.append(elected)
            self.elections += 1
        return self._elected[place]


def proposer(members: ValidatorSet, priorities: Priorities, round_: int) -> bytes:
    """The proposer of `round_`. priorities: those before this height's own election."""
    return ProposerSchedule(members, priorities)(round_)


def dump_priorities(members: ValidatorSet, priorities: Priorities) -> bytes:
    """The bytes kept between heights: (key, weight, priority) each, so that a later change of the set can be seen."""
    return encode([[key, weight, priorities[key]] for key, weight in members.members])


def load_priorities(raw: bytes, members: ValidatorSet) -> Priorities:
    """The priorities for `members` from the bytes kept; b'' before the first height."""
    if not raw:
        return first_priorities(members)
    rows = decode(raw)
    old = ValidatorSet.of([(key, weight) for key, weight, _ in rows])
    kept = {key: priority for key, _, priority in rows}
    return kept if old == members else update(old, members, kept)
