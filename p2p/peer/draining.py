"""The end of a peer that loses nothing: it takes nothing new, finishes what runs, and then ends.

Law: others are told by what they ask anyway: clients by a sentence, agents by a signed Busy, all by `status`. Votes and
reveals go on to the last moment. What cannot be finished within the limit is broken off, as when the process is killed:
the agent or the client goes on elsewhere.

The chain knows nothing of a drain, so this peer is drawn on to check others' answers (decision 079). Checks go on while
answers run. The height at which the last answer has ended is the last one whose draws it still checks, and it ends when
the chain has its verdicts on them: a commitment left behind must be revealed within the few heights of its window. What
is drawn later waits for the next start, which has nearly all of the longer window for commitments.
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
STILL_S = 4.0  # what waits for the chain is left when nothing changed for so long: the chain stands still
RECORDS, DUTIES = "records", "duties"
FOR_PEOPLE = ("requests", "answers")  # work that somebody waits for
MOST_S = 86_400.0


@dataclass(slots=True)
class Draining:
    """One per peer."""

    left: Callable[[], dict[str, int]]  # what still runs, by what it is
    close: Callable[[], None]  # take nothing new
    height: Callable[[], int]  # of the chain here
    last_draws: int | None = None  # the last height whose draws this peer checks; None: of all
    _begun: trio.Event = field(default_factory=trio.Event)
    _limit_s: float = 0.0

    @property
    def is_begun(self) -> bool:
        return self._begun.is_set()

    def begin(self, limit_s: float) -> None:
        """From now on nothing new is taken; `run` returns when all is done, at the latest after `limit_s` seconds. A
        second call changes the limit."""
        self._limit_s = limit_s
        if not self.is_begun:
            self.close()
            log.info("this peer drains", limit_s=limit_s, height=self.height(), **self.left())
            self._begun.set()

    async def run(self) -> None:
        """Until the peer may end."""
        await self._begun.wait()
        began = changed = trio.current_time()
        before: tuple[dict[str, int], int] = {}, 0
        while any((left := self._look()).values()) and (now := trio.current_time()) < began + self._limit_s:
            at = left, self.height() if left.get(DUTIES) else 0
            if at != before:
                before, changed = at, now
            if left.get(RECORDS, 0) + left.get(DUTIES, 0) == sum(left.values()) and now >= changed + STILL_S:
                break
            await trio.sleep(LOOK_S)
        seconds, unfinished = round(trio.current_time() - began, 1), sum(left.values())
        log.info(
            "this peer ends", seconds=seconds, height=self.height(), last_draws=self.last_draws, unfinished=unfinished,
        )

    def _look(self) -> dict[str, int]:
        left = self.left()
        if self.last_draws is None and not any(map(left.get, FOR_PEOPLE)):
            self.last_draws = self.height()
            left = self.left()
        return left


def work_of(node: Node) -> dict[str, int]:
    """What runs on a peer and must not be cut off."""
    registered = node.chain.reader.is_registered(node.key.public)
    return {
        "requests": node.agent.entrance.running, "answers": node.executor.serving,
        "checks": node.validator.checking, RECORDS: len(node.outbox) if registered else 0,
        DUTIES: node.validator.owing(node.last_draws),
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
