"""Measures how late timers run, so that other work gives way to consensus while the process is overloaded.

Law: consensus never waits here; all other work does while the process is late.

One event loop runs everything that a peer does. With a hundred answers at once, each consensus message would wait for a
hundred other tasks, once for each layer it passes. A timer's delay shows this, no matter whether the loop or the whole
machine is busy.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from p2p.base.limits import GIVE_WAY_S, LATE_S, LOAD_LOOK_S


@dataclass(slots=True)
class Load:
    """How late this process is."""

    late_s: float = 0.0  # delay of timers, smoothed: it rises at once, and halves with each timer that is on time
    is_behind: bool = False  # checks of this peer found no place twice in a row; its validator says so

    async def run(self) -> None:
        """Measure every LOAD_LOOK_S seconds, until cancelled."""
        while True:
            due = trio.current_time() + LOAD_LOOK_S
            await trio.sleep_until(due)
            self.note(trio.current_time() - due)

    def note(self, late_s: float) -> None:
        """A timer was `late_s` seconds late."""
        self.late_s = max(late_s, (self.late_s + late_s) / 2)

    @property
    def is_late(self) -> bool:
        return self.late_s > LATE_S

    async def give_way(self, most_s: float = GIVE_WAY_S) -> None:
        """Wait while the process is late, at most `most_s` seconds: work is slowed down, never dropped."""
        with trio.move_on_after(most_s):
            while self.is_late:
                await trio.sleep(LOAD_LOOK_S)
