"""The client's stream, as its agent sees it. Law: a client that went away is noticed and is no error."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.errors import Unavailable
from p2p.gossip.connections.streams import Stream
from p2p.wire.frames import Frame, pack_frame


@dataclass(slots=True)
class Reader:
    """Sends frames to one client."""

    stream: Stream
    gone: bool = False  # a frame could not be delivered; nothing is sent any more

    async def show(self, frame: Frame) -> None:
        """Send the frame, if the client is still there."""
        if self.gone:
            return
        try:
            await self.stream.send(pack_frame(frame))
        except Unavailable:
            self.gone = True
