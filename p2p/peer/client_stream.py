"""The client's end of a session, as the agent sees it. Law: a client that went away is noticed, and is no error of the session."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.errors import Unavailable
from p2p.gossip.streams import Stream
from p2p.wire.frames import Frame, pack_frame


@dataclass(slots=True)
class Reader:
    """gone: a frame could not be delivered; nothing is sent any more."""

    stream: Stream
    gone: bool = False

    async def show(self, frame: Frame) -> None:
        if self.gone:
            return
        try:
            await self.stream.send(pack_frame(frame))
        except Unavailable:
            self.gone = True
