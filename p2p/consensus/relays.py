"""Who relays votes, and when: the one rule of the exchange. Law: pure; who relays follows from the proposer schedule.

All validators have a rank for each (height, round): the round's proposer is the first, then come those whose turns are
next. In a small set each vote goes straight to everybody. In a larger one it goes to the first RELAYS ranks; rank k
hands on at k times `wait_ms` after the vote was cast, unless a lower rank did. An author whose vote has not settled
goes down the ranks, one each wait_ms. So a dead relay costs one wait, and only n votes become about n frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.consensus.validators import ValidatorSet

LOOK = 16  # turns that are looked up for an order; who has none of them comes later, by key
SMOOTH = 8  # samples over which the time to a quorum is averaged


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes and times of the exchange, ms. Parameters, not rules: peers with others still agree."""

    small: int = 8  # in sets of up to so many, each vote goes straight to everybody
    direct: int = 64  # in sets of up to so many, votes travel by streams; beyond, bundles travel through the mesh
    relays: int = 3  # ranks that an author sends to at once
    tick_ms: int = 10  # between two frames to one neighbour: what comes meanwhile shares the next
    wait_least_ms: int = 40  # between two ranks: above a tick and a way there and back
    wait_most_ms: int = 500  # below the shortest vote timeout
    want_ms: int = 150  # without news, after which a peer asks; at least three waits
    want_most_ms: int = 1200  # between two questions without news


PACE = Pace()


def order(members: ValidatorSet, proposer_of: Callable[[int], bytes], round_: int) -> tuple[bytes, ...]:
    """All validators by rank."""
    turns = dict.fromkeys(proposer_of(round_ + ahead) for ahead in range(min(LOOK, 2 * len(members.members))))
    return (*turns, *(key for key, _ in members.members if key not in turns))


class Wait:
    """How long a rank waits for the one before: as long as it lately took from casting a vote to a quorum of its kind.

    Under load everything takes longer, and with it this, so that load makes no repeats that make more load."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._mean_ms = 2 * pace.wait_least_ms * SMOOTH  # times SMOOTH: whole numbers would lose the rest

    def took(self, ms: int) -> None:
        """A vote of ours was settled so long after it was cast."""
        self._mean_ms += min(max(ms, 0), 2 * self._pace.wait_most_ms) - self._mean_ms // SMOOTH

    @property
    def ms(self) -> int:
        return min(max(self._mean_ms // SMOOTH, self._pace.wait_least_ms), self._pace.wait_most_ms)
