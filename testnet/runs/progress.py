"""What a run says while it works. Law: one line a thing, with the time since the start and, where it is known, the time
left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STAGES = ("set up", "start", "wait for the mesh", "load", "settle", "check", "stop", "collect")


@dataclass(slots=True)
class Progress:
    out: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    took: list[tuple[str, float]] = field(default_factory=list)  # stages that are over, and seconds
    _stage: str = ""
    _since: float = 0.0

    def say(self, text: str) -> None:
        self.out(f"[{time.monotonic() - self.began:6.1f} s] {text}")

    def stage(self, name: str, more: str = "") -> None:
        """A stage begins, so the one before is over."""
        self.end()
        self._stage, self._since = name, time.monotonic()
        self.say(f"{STAGES.index(name) + 1}/{len(STAGES)} {name}{': ' + more if more else ''}")

    def end(self) -> None:
        if self._stage:
            self.took.append((self._stage, round(time.monotonic() - self._since, 1)))
        self._stage = ""
