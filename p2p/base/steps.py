"""Work in steps. Law: who does the work says where it may rest, whoever drives it decides when it goes on; the result does not depend on it.

A generator that yields between two steps and returns the result. Pure code yields; only a shell knows of an event loop or a clock.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]


def all_at_once(steps: Steps[T]) -> T:
    """Without a rest between two of them."""
    try:
        while True:
            next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
