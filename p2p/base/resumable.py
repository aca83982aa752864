"""Resumable work: a generator that yields where it may pause, and returns its result at the end.

Law: the work decides where it may pause, its caller decides when it resumes; the result does not depend on the pauses.
Checking or applying a block takes long. A pure core yields between two parts of it; only the shell around it knows an
event loop or a clock, and lets other tasks run during a pause (consensus/cooperative.py, decision 026).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Resumable = Generator[None, None, T]


def run_to_end(work: Resumable[T]) -> T:
    """The result of `work`, run without a pause."""
    try:
        while True:
            next(work)
    except StopIteration as done:
        result: T = done.value
        return result
