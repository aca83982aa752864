"""Runs a command's asynchronous part. Law: what the user sees is the typed error itself, never the groups that nurseries wrap it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import structlog
import trio

from p2p.base.errors import FolkmootError
from p2p.machine import logs

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_async(task: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """The task's result. Raises the typed error inside nested groups, else the first one. A command that says nothing else of logs has its
    warnings on standard error, beside its answer and never in it."""
    if not structlog.is_configured():
        logs.configure(None, "warning")
    try:
        return trio.run(task, *args)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            found.append(error)
    return next((error for error in found if isinstance(error, FolkmootError)), found[0])
