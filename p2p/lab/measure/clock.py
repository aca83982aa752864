"""Progress of a long measurement, with the time that is left. Law: it measures nothing but time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

SAY_S = 20.0  # between two lines


@dataclass(slots=True)
class Clock:
    """Progress with the time that is left."""

    say: Callable[[str], None]
    left: int = 0  # answers to be made or scored
    done: int = 0
    begun: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def count(self, more: int) -> None:
        self.done += more
        now = time.monotonic()
        if more and now - self.said >= SAY_S:
            self.said = now
            seconds = max(self.left - self.done, 0) * (now - self.begun) / self.done
            self.say(f"{self.done} of {self.left} answers made or scored, about {seconds / 60:.0f} min left")
