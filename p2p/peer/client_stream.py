"""The client's stream, as its agent sees it. Law: a client that went away is noticed and is no error."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from p2p.base.errors import Unavailable
from p2p.peer.telling import Telling
from p2p.wire.frames import Frame


@dataclass(slots=True)
class Reader:
    """Sends frames to one client."""

    telling: Telling

    @property
    def gone(self) -> bool:
        """Whether a frame could not be delivered; nothing is sent any more."""
        return self.telling.is_gone

    async def show(self, *frames: Frame) -> None:
        """Send the frames, if the client is still there."""
        if not self.gone:
            with suppress(Unavailable):
                await self.telling.send(*frames)
