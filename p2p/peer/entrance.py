"""How many requests an agent works on at once. Law: as many as the process keeps up with.

Additive increase, multiplicative decrease (Chiu and Jain 1989), driven by how late the process is
(p2p/machine/load.py), for a peer cannot know what its machine bears. A request refused here costs a message; one let in
too many costs an answer that comes too late. While the limit is below the maximum, accounts that used least lately are
still let in.

A limit on requests at once does not bound what they cause later: each answer is checked by a committee. A peer that is
behind with its own checks lowers the limit below one: a limit of 1/4 means one request, a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from p2p.base.errors import Overloaded
from p2p.base.serving_limits import ENTRANCE_LEAST, ENTRANCE_LEAST_BEHIND, ENTRANCE_LOOK_S, MAX_REQUESTS_AT_ONCE
from p2p.machine.load import Load


@dataclass(slots=True)
class Entrance:
    """One per agent."""

    load: Load = field(default_factory=Load)
    most: int = MAX_REQUESTS_AT_ONCE
    limit: float = MAX_REQUESTS_AT_ONCE  # requests at once now, between ENTRANCE_LEAST_BEHIND and `most`
    running: int = 0
    _looked_at: float = float("-inf")
    _rests_until: float = float("-inf")  # with a limit below one

    @contextmanager
    def hold(self, *, modest: bool) -> Iterator[None]:
        """One request runs in the block. modest: its account used little of this peer lately, so it is let in above
        `limit` up to `most`. Raises Overloaded."""
        begun = trio.current_time()
        self._adapt(begun)
        rests = self.limit < 1 and begun < self._rests_until
        if self.running >= self.most or (not modest and (rests or self.running >= max(1, self.limit))):
            raise Overloaded(
                "this peer has more requests than it can keep up with; ask another, or try again in a second",
                field="agent", retry_after=1
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            now = trio.current_time()
            self._rests_until = max(self._rests_until, now + (now - begun) * (1 / self.limit - 1))

    def _adapt(self, now: float) -> None:
        if now < self._looked_at + ENTRANCE_LOOK_S:
            return
        self._looked_at = now
        if self.load.is_late or self.load.is_behind:
            least = ENTRANCE_LEAST_BEHIND if self.load.is_behind else ENTRANCE_LEAST
            self.limit = max(float(least), min(self.limit, self.running) / 2)
        else:
            self.limit = min(float(self.most), 2 * self.limit if self.limit < 1 else self.limit + 1)
