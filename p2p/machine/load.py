"""How late this process runs what is due. Law: consensus never asks; all other work gives way while it is late.

One event loop carries everything that a peer does. With a hundred answers at once each message of the consensus would wait for a hundred other steps,
once for each layer it passes. The delay of a timer shows that, whether the loop itself is full or the machine is.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from p2p.base.limits import GIVE_WAY_S, LATE_S, LOAD_LOOK_S


@dataclass(slots=True)
class Load:
    """late_s: seconds by which timers were late, smoothed over some looks; rises at once, falls by half a look."""

    late_s: float = 0.0

    async def run(self) -> None:
        """Until cancelled: look how late a timer is."""
        while True:
            due = trio.current_time() + LOAD_LOOK_S
            await trio.sleep_until(due)
            self.note(trio.current_time() - due)

    def note(self, late_s: float) -> None:
        self.late_s = max(late_s, (self.late_s + late_s) / 2)

    @property
    def is_late(self) -> bool:
        return self.late_s > LATE_S

    async def give_way(self, most_s: float = GIVE_WAY_S) -> None:
        """Wait while the process is late, at most `most_s`: what is put off is slower, never lost."""
        with trio.move_on_after(most_s):
            while self.is_late:
                await trio.sleep(LOAD_LOOK_S)
