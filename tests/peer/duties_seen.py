"""What became of each duty of one validator, by the chain's own answers about inferences. Law: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DutySeen:
    """One committee that the validator was drawn into."""

    inference: str
    drawn: int  # height of the draw
    closes: int  # last height of the last phase
    committed: bool
    revealed: bool
    others: int  # members that revealed

    @property
    def missed(self) -> str:
        """What it failed to do, '' if it did all; others must have done it, else nobody missed it."""
        if self.revealed or not self.others:
            return ""
        return "reveal" if self.committed else "commit"


def duties_of(node: str, inferences: Iterable[Mapping[str, Any]]) -> list[DutySeen]:
    """By the height of the draw."""
    found = [
        DutySeen(
            one["id"], committee["height"], committee["closes"], node in committee["committed"],
            node in committee["revealed"], len(committee["revealed"]),
        )
        for one in inferences for committee in one["committees"] if node in committee["members"]
    ]
    return sorted(found, key=lambda duty: duty.drawn)
