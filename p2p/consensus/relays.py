"""Who relays votes, and when: the one rule of the exchange. Law: pure; who relays follows from the proposer schedule.

All validators have a rank for each (height, round): the round's proposer is the first, then come those whose turns are
next. The first RELAYS ranks are relays. An author gives its vote to the relays at once, and while it has not settled to
one more rank each wait, from the second on. Rank k hands on what came straight from an author k waits later, unless a
lower rank that is not the author gave it too. So n votes become about n frames, a dead relay costs a wait, and two
different votes of one author meet. In a small set the author gives its vote to everybody, and relays hand on a wait
later: that is for those without a stream to the author, and for evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.consensus.validators import ValidatorSet

LOOK = 16  # turns that are looked up for an order; who has none of them comes later, by key
WAITS = 5  # after which each of three relays has had its turn
SCALE = 64  # of the averaged time: whole milliseconds would lose the rest
SLOWER, SOONER = 16, 4  # parts of a difference by which the average follows a slow quorum, and a quick one


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes and times of the exchange, ms. Parameters, not rules: peers with others still agree."""

    small: int = 8  # in sets of up to so many, each vote goes straight to everybody
    direct: int = 64  # in sets of up to so many, votes travel by streams; beyond, bundles travel through the mesh
    relays: int = 3  # ranks that an author sends to at once
    tick_ms: int = 2  # between two frames to one neighbour: what comes meanwhile shares the next
    wait_least_ms: int = 40  # between two ranks: above a tick and a way there and back
    wait_most_ms: int = 500  # below the shortest vote timeout
    want_ms: int = 150  # without news, after which a peer asks; at least WAITS waits
    want_most_ms: int = 1200  # between two questions without news


PACE = Pace()


def order(members: ValidatorSet, proposer_of: Callable[[int], bytes], round_: int) -> tuple[bytes, ...]:
    """All validators by rank."""
    turns = dict.fromkeys(proposer_of(round_ + ahead) for ahead in range(min(LOOK, 2 * len(members.members))))
    return (*turns, *(key for key, _ in members.members if key not in turns))


class Wait:
    """How long a rank waits for the one before: three quarters of what it lately took from casting a vote to a quorum
    of its kind, which is the way to a relay, a tick, and the way back.

    Under load everything takes longer, and with it this, so that load makes no repeats that make more load. What a dead
    relay or a missing stream adds must not feed back, so the average is one that leans to the quick ones."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._mean = 4 * pace.wait_least_ms * SCALE  # too long costs less than too short, and is unlearned sooner

    def took(self, ms: int) -> None:
        """A vote of ours was settled so long after it was cast."""
        off = min(max(ms, 0), 2 * self._pace.wait_most_ms) * SCALE - self._mean
        self._mean += off // SLOWER if off > 0 else -(-off // SOONER)

    @property
    def ms(self) -> int:
        return min(max(3 * self._mean // (4 * SCALE), self._pace.wait_least_ms), self._pace.wait_most_ms)
