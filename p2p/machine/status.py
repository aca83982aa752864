"""What a process says of its parts. Law: data only."""

from __future__ import annotations

from msgspec import Struct


class FailedPart(Struct, frozen=True):
    """A part of the peer that has failed since the start."""

    part: str
    failures: int
    last: str  # the last error
    runs: bool  # whether it runs again, or is in the pause before its next start
