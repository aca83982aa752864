"""What the router asks of its source of randomness: `random.Random` has it, seeded by the caller.

Law: this room draws no randomness of its own, so that a simulation can be repeated.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Lot(Protocol):
    """Draws by lot."""

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """k different members, in any order."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Put x into any order."""

    def choice(self, seq: Sequence[T]) -> T:
        """One member."""
