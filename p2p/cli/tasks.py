"""Runs the asynchronous part of a command, and configures logging for it: the one place where the command line does.

Law: the user sees the typed error itself, never the groups that nurseries wrap it in.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import structlog
import trio

from p2p.base.errors import FolkmootError
from p2p.machine import logs
from p2p.machine.tracing_otel import exporting

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Logging:
    """Where a command's log goes."""

    directory: Path | None = None  # of folkmoot.log; None: only warnings, on standard error
    level: str = "warning"
    style: str = "text"  # or json


def run_async(task: Callable[[*Ts], Awaitable[T]], *args: *Ts, log: Logging | None = None) -> T:
    """The task's result. log: None for a command that says nothing else of logs: FOLKMOOT_LOG_DIR names a folder for
    its log, else only errors are shown, for the command itself says what others do wrong.

    Raises the one error that a user is to see of those that nested groups hold (first_error).
    """
    if log is not None or not structlog.is_configured():
        own = os.environ.get("FOLKMOOT_LOG_DIR")
        chosen = log or (Logging(Path(own), "info") if own else Logging(level="error"))
        logs.configure(chosen.directory, chosen.level, chosen.style)
    try:
        with exporting("folkmoot"):
            return trio.run(task, *args)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A Ctrl-C in a group of groups, or else the first FolkmootError, or else the first error of all."""
    found: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            found.append(error)
    for kind in (KeyboardInterrupt, FolkmootError):
        if (first := next((error for error in found if isinstance(error, kind)), None)) is not None:
            return first
    return found[0]
