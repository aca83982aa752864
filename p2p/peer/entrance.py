"""How many requests an agent works on at once. Law: as many as the process keeps up with.

Additive increase, multiplicative decrease (Chiu and Jain 1989), driven by how late the process is
(p2p/machine/load.py), for a peer cannot know what its machine bears. A request refused here costs a message; one let in
too many costs an answer that comes too late. While the limit is below the maximum, accounts that used least lately are
still let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from p2p.base.errors import Overloaded
from p2p.base.limits import ENTRANCE_LEAST, ENTRANCE_LOOK_S, MAX_REQUESTS_AT_ONCE
from p2p.machine.load import Load


@dataclass(slots=True)
class Entrance:
    """One per agent."""

    load: Load = field(default_factory=Load)
    most: int = MAX_REQUESTS_AT_ONCE
    limit: float = MAX_REQUESTS_AT_ONCE  # requests at once now, between ENTRANCE_LEAST and `most`
    running: int = 0
    _looked_at: float = float("-inf")

    @contextmanager
    def hold(self, *, modest: bool) -> Iterator[None]:
        """One request runs in the block. modest: its account used little of this peer lately, so it is let in above
        `limit` up to `most`. Raises Overloaded."""
        self._adapt(trio.current_time())
        if self.running >= (self.most if modest else self.limit):
            raise Overloaded(
                "this peer has more requests than it can keep up with; ask another, or try again in a second",
                field="agent", retry_after=1
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def _adapt(self, now: float) -> None:
        if now < self._looked_at + ENTRANCE_LOOK_S:
            return
        self._looked_at = now
        if self.load.is_late:
            self.limit = max(float(ENTRANCE_LEAST), min(self.limit, self.running) / 2)
        else:
            self.limit = min(float(self.most), self.limit + 1)
