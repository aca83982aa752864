"""Takes part honestly, but relays no votes: as a relay it keeps them, or gives them to one peer only."""

from __future__ import annotations

from tests.sim.villains.base import Villain


class SilentRelay(Villain):
    def transmit(self, name: str, frame: bytes) -> None:
        if name == str(self.others[0].number):
            super().transmit(name, frame)
