"""Stream `body`: the transactions of a block that is being decided, from whoever offered it.

Law: each place is given once, so no answer is larger than a block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.types import VERSION
from p2p.consensus.engine import ConsensusEngine, Fetch
from p2p.wire.failures import raise_failure
from p2p.wire.frames import Body, BodyWanted, Failure, pack_frame, receive_frame

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream


async def serve_body(engine: ConsensusEngine, stream: Stream, frame: BodyWanted) -> None:
    txs = engine.body(frame.height, frame.block_id, frame.places)
    if txs is None:
        raise Unavailable("no such block is being decided here", field="block_id")
    await stream.send(pack_frame(Body(txs)))


def fetch_body(open_stream: Callable[[str, str], Awaitable[Stream]]) -> Fetch:
    """What the engine fetches with."""

    async def fetch(peer: str, height: int, block_id: bytes, places: tuple[int, ...]) -> tuple[bytes, ...]:
        stream = await open_stream(peer, "body")
        try:
            await stream.send(pack_frame(BodyWanted(VERSION, height, block_id, places)))
            frame = await receive_frame(stream, Body, Failure)
        finally:
            await stream.close()
        if isinstance(frame, Failure):
            raise_failure(frame)
        if not isinstance(frame, Body):
            raise RemoteProtocolError(f"{type(frame).__name__} instead of Body", field="frame")
        return frame.txs

    return fetch
