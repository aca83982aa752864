"""When a peer asks for votes, and whom. Law: only after a time without news, more and more seldom, each neighbour in
its turn; news put a question off, but not for ever.
"""

from __future__ import annotations

from p2p.base.keys import digest
from p2p.consensus.relays import WAITS, Pace
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.vote_neighbours import Neighbour

Place = tuple[int, int]  # height and round
ASKED_AT_ONCE = 2  # neighbours: one may be faulty
PUT_OFF = 4  # times without news, at most, by which news put a question off: else whoever sends one vote now and then
# could keep a peer from asking for those it lacks


class Wants:
    """The questions of one peer. me: its public key."""

    def __init__(self, pace: Pace, me: bytes) -> None:
        self._pace, self._me = pace, me
        self._at: Place = (-1, -1)
        self._tries = 0  # since the last news
        self._turn = 0
        self._wait_ms = pace.want_ms
        self._since_ms = 0  # when it came to this place, or asked last
        self.due_ms: int | None = None  # None: nothing to ask for until there are news

    def follow(self, at: Place, now: int, wait_ms: int) -> bool:
        """The peer is at this height and round; whether that is new."""
        if at == self._at:
            return False
        self._at, self._since_ms = at, now
        self.news(now, wait_ms)
        return True

    def news(self, now: int, wait_ms: int) -> None:
        """Something came. wait_ms: between two ranks of relays."""
        self._wait_ms = max(self._pace.want_ms, WAITS * wait_ms)
        self._tries, self.due_ms = 0, min(now, self._since_ms + (PUT_OFF - 1) * self._wait_ms) + self._wait_ms

    def rest(self) -> None:
        self.due_ms = None

    def is_due(self, now: int) -> bool:
        return self.due_ms is not None and now >= self.due_ms

    def choose(
        self, neighbours: list[Neighbour], members: ValidatorSet, first: tuple[bytes, ...], now: int
    ) -> list[Neighbour]:
        """Whom to ask now. first: keys of those that are asked before all others. Validators are asked, or whoever is
        there where none is."""
        luck = int.from_bytes(digest(self._me, repr((self._at, self._tries)).encode())[:4], "big")
        pause_ms = min(self._wait_ms << min(self._tries, 4), max(self._pace.want_most_ms, self._wait_ms))
        self.due_ms = now + pause_ms + luck % max(1, pause_ms // 4)
        self._tries += 1
        self._since_ms = now
        voters = [one for one in neighbours if one.key in members] or neighbours
        best = [one for one in voters if one.key in first]
        if self._tries == 1 and best:
            return best[:ASKED_AT_ONCE]
        start, self._turn = self._turn, self._turn + ASKED_AT_ONCE
        return [voters[(start + at) % len(voters)] for at in range(min(ASKED_AT_ONCE, len(voters)))]
