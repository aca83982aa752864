"""How many requests an agent works on at once. Law: as many as the peer keeps up with; while it does not, whoever had least so far comes first.

Additive increase, multiplicative decrease (Chiu and Jain 1989), driven by how late the process is (p2p/machine/load.py): a peer cannot know what
its machine bears. A request that is refused at the door costs a message; one that is not costs an answer that comes too late.
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
    """limit: requests at once now; between ENTRANCE_LEAST and `most`."""

    load: Load = field(default_factory=Load)
    most: int = MAX_REQUESTS_AT_ONCE
    limit: float = MAX_REQUESTS_AT_ONCE
    running: int = 0
    _looked_at: float = float("-inf")

    @contextmanager
    def hold(self, *, modest: bool) -> Iterator[None]:
        """One request inside. modest: its account had little of this peer lately, so it is let in while others wait. Raises Overloaded."""
        self._adapt(trio.current_time())
        if self.running >= (self.most if modest else self.limit):
            raise Overloaded("this peer has more requests than it keeps up with; ask another, or try again in a second", field="agent", retry_after=1)
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
