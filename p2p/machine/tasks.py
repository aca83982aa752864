"""Supervises the long-running tasks of a peer, and the short ones that they start.

Law: a failed task never ends another one; only StorageError, and what a task declares fatal, ends the peer.

A task that fails is started again after a pause that doubles each time. Log and status say why it failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVarTuple

import structlog
import trio

from p2p.base.errors import StorageError
from p2p.base.limits import MAX_LOG_TEXT, TASK_CALM_S, TASK_PAUSE_FIRST_S, TASK_PAUSE_MAX_S
from p2p.machine.status import FailedPart

log = structlog.get_logger()
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Tasks:
    """The supervised tasks of one peer, by name, and their failures."""

    failures: dict[str, int] = field(default_factory=dict)  # how often a task has failed
    last: dict[str, str] = field(default_factory=dict)  # its last error
    waiting: set[str] = field(default_factory=set)  # tasks in the pause before their next start

    async def keep(
        self, name: str, task: Callable[[], Awaitable[None]],
        fatal: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        """Run `task` until it returns or is cancelled, and start it again when it fails.

        Raises StorageError, and every error for which `fatal` is true.
        """
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
        """Count and log a failure of task `name`."""
        self.failures[name] = self.failures.get(name, 0) + 1
        self.last[name] = f"{type(error).__name__}: {error}"[:MAX_LOG_TEXT]
        count = self.failures[name]
        log.error("a part of this peer failed and is started again", part=name, failures=count, exc_info=error)

    def status(self) -> tuple[FailedPart, ...]:
        """Tasks that have failed since the start."""
        return tuple(
            FailedPart(name, count, self.last[name], name not in self.waiting)
            for name, count in sorted(self.failures.items())
        )


async def once(name: str, task: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
    """Run a short task and log its failure, so that the task that started it continues. Raises StorageError."""
    try:
        await task(*args)
    except BaseException as error:
        log.error("a piece of work failed", work=name, exc_info=reason_of(error))


def reason_of(error: BaseException, fatal: Callable[[BaseException], bool] = lambda error: False) -> Exception:
    """The failure inside `error`, which nurseries wrap in exception groups.

    Raises what a supervisor must not swallow: StorageError, what is `fatal`, cancellation, the user's interrupt.
    """
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
