"""Tasks that run as long as the peer, and the ones they start. Law: each has an owner who knows its failures; only StorageError ends the peer.

A fault in one part must not take the others with it: the part begins anew after a pause that grows, and status and log say why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVarTuple

import structlog
import trio

from p2p.base.errors import StorageError
from p2p.base.limits import MAX_LOG_TEXT, TASK_CALM_S, TASK_PAUSE_FIRST_S, TASK_PAUSE_MAX_S

log = structlog.get_logger()
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Tasks:
    """Who runs and what became of it. fatal: errors that end the peer besides StorageError, by a task's name."""

    failures: dict[str, int] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)

    async def keep(
        self, name: str, task: Callable[[], Awaitable[None]], fatal: Callable[[BaseException], bool] = lambda error: False
    ) -> None:
        """Run `task` until it returns or is cancelled; begin anew when it fails. Raises StorageError, and what is `fatal`."""
        pause_s = TASK_PAUSE_FIRST_S
        while True:
            began = trio.current_time()
            try:
                await task()
                return
            except BaseException as error:
                self.note(name, reason_of(error, fatal))
            if trio.current_time() - began > TASK_CALM_S:
                pause_s = TASK_PAUSE_FIRST_S
            self.waiting.add(name)
            await trio.sleep(pause_s)
            self.waiting.discard(name)
            pause_s = min(pause_s * 2, TASK_PAUSE_MAX_S)

    def note(self, name: str, error: BaseException) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        self.last[name] = f"{type(error).__name__}: {error}"[:MAX_LOG_TEXT]
        log.error("a part of this peer failed and begins anew", part=name, failures=self.failures[name], exc_info=error)

    def status(self) -> list[dict[str, Any]]:
        """Those that have failed since the start."""
        return [
            {"part": name, "failures": count, "last": self.last[name], "runs": name not in self.waiting}
            for name, count in sorted(self.failures.items())
        ]


async def once(name: str, task: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
    """A short task whose failure is its own: what started it goes on. Raises StorageError."""
    try:
        await task(*args)
    except BaseException as error:
        log.error("a piece of work failed", work=name, exc_info=reason_of(error))


def reason_of(error: BaseException, fatal: Callable[[BaseException], bool] = lambda error: False) -> Exception:
    """The failure inside `error`, which nurseries wrap in groups. Raises at once what is not a part's own: the storage's, what is `fatal`,
    cancellation and the user's interrupt."""
    found = list(_leaves(error))
    for one in found:
        if isinstance(one, StorageError) or fatal(one):
            raise one
    if isinstance(error, BaseExceptionGroup) and (ending := error.split(Exception)[1]) is not None:
        raise ending
    if not isinstance(error, Exception):
        raise error
    return next(one for one in found if isinstance(one, Exception))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
