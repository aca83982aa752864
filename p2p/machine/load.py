"""Knows how late the event loop runs, so that other work gives way to consensus while the process is overloaded.

Law: consensus never waits here; all other work does while the process is late.

One event loop runs everything that a peer does. With a hundred answers at once, each consensus message would wait for a
hundred other tasks, once for each layer it passes. How long a turn of the loop takes, and how much later than asked the
machine wakes it, shows this, no matter whether the loop or the whole machine is busy. The turns are measured for the
deadlines anyway (deadlines.py): a timer that looks would wake each peer fifty times a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from p2p.base.limits import GIVE_WAY_S, LATE_S, LOAD_LOOK_S
from p2p.machine.deadlines import of_this_run


@dataclass(slots=True)
class Load:
    """How late this process is."""

    late_s: float = 0.0  # delay of what is due, smoothed: it rises at once, and halves in each LOAD_LOOK_S on time
    is_behind: bool = False  # checks of this peer found no place twice in a row; its validator says so

    async def run(self) -> None:
        """Follow the turns of this run's event loop, until cancelled."""
        watchers = of_this_run().watchers
        watchers.append(self.note)
        try:
            await trio.sleep_forever()
        finally:
            watchers.remove(self.note)

    def note(self, late_s: float, length_s: float = LOAD_LOOK_S) -> None:
        """What was due in a turn of `length_s` seconds was up to `late_s` seconds late."""
        self.late_s = max(late_s, self.late_s * 0.5 ** (length_s / LOAD_LOOK_S))

    @property
    def is_late(self) -> bool:
        return self.late_s > LATE_S

    async def give_way(self, most_s: float = GIVE_WAY_S) -> None:
        """Wait while the process is late, at most `most_s` seconds: work is slowed down, never dropped."""
        with trio.move_on_after(most_s):
            while self.is_late:
                await trio.sleep(LOAD_LOOK_S)
