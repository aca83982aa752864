"""What was done to the network and when. Law: data only; times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Event:
    """One perturbation as it happened."""

    kind: str
    names: tuple[str, ...]  # of those that suffered
    began: float
    ended: float | None = None  # when it was undone, or over; None: it lasts
    error: str = ""  # why it could not be done
    grown: float | None = None  # when every height had grown again (checks.py)

    @property
    def who(self) -> str:
        return ", ".join(self.names) or "all"
