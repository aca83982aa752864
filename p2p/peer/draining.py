"""The end of a peer that loses nothing: it takes nothing new, finishes what runs, and then ends.

Law: others are told by what they ask anyway: clients by a sentence, agents by a signed Busy, all by `status`. Votes and
reveals go on to the last moment. What cannot be finished within the limit is broken off, as when the process is killed:
the agent or the client goes on elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
import trio

from p2p.base.errors import InvalidRequest
from p2p.peer.control import Handler

if TYPE_CHECKING:
    from p2p.peer.node import Node

log = structlog.get_logger()

LOOK_S = 0.05  # between two looks at what still runs
STILL_S = 4.0  # records that wait for the chain are left when nothing changed for so long: the chain stands still
RECORDS = "records"
MOST_S = 86_400.0


@dataclass(slots=True)
class Draining:
    """One per peer."""

    left: Callable[[], dict[str, int]]  # what still runs, by what it is
    close: Callable[[], None]  # take nothing new
    _begun: trio.Event = field(default_factory=trio.Event)
    _limit_s: float = 0.0

    @property
    def is_begun(self) -> bool:
        return self._begun.is_set()

    @property
    def is_last(self) -> bool:
        """Whether nobody's answer runs any more: no check is begun now, but those that are due are while answers run,
        for their windows are a few heights only."""
        left = self.left() if self.is_begun else {}
        return self.is_begun and not left.get("requests") and not left.get("answers")

    def begin(self, limit_s: float) -> None:
        """From now on nothing new is taken; `run` returns when all is done, at the latest after `limit_s` seconds. A
        second call changes the limit."""
        self._limit_s = limit_s
        if not self.is_begun:
            self.close()
            log.info("this peer drains", limit_s=limit_s, **self.left())
            self._begun.set()

    async def run(self) -> None:
        """Until the peer may end."""
        await self._begun.wait()
        began = trio.current_time()
        before, changed = self.left(), began
        while any((left := self.left()).values()) and (now := trio.current_time()) < began + self._limit_s:
            if left != before:
                before, changed = left, now
            if left.get(RECORDS) == sum(left.values()) and now >= changed + STILL_S:
                break
            await trio.sleep(LOOK_S)
        log.info("this peer ends", seconds=round(trio.current_time() - began, 1), unfinished=sum(left.values()))


def work_of(node: Node) -> dict[str, int]:
    """What runs on a peer and must not be cut off."""
    registered = node.chain.reader.is_registered(node.key.public)
    return {
        "requests": node.agent.entrance.running, "answers": node.executor.serving,
        "checks": node.validator.checking, RECORDS: len(node.outbox) if registered else 0,
    }


def drain_handler(draining: Draining, otherwise: Handler) -> Handler:
    """Answers drain {limit_s}: with what still runs. Everything else goes to the handler behind."""

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("op") != "drain":
            return otherwise(request)
        limit = request.get("limit_s")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= MOST_S:
            raise InvalidRequest(f"give a number of seconds from 0 to {MOST_S:.0f}", field="limit_s")
        draining.begin(float(limit))
        return {"draining": True, "left": draining.left()}

    return handle
