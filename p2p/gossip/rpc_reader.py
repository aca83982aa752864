"""Reads the RPCs of one inbound gossip stream.

Law: an RPC is bounded in size and time before any of it is kept.

- READ-1: an RPC is a varint length and at most MAX_RPC bytes; a longer one is refused before its body is read.
- READ-2: one that has begun takes its announced size from the peer's unparsed bytes, and waits unread where there is no
  room. It ends within FRAME_TIMEOUT_S.

Stock, lengths were read a byte at a time through four locks; here one reader owns each stream and its buffer.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.limits import FRAME_TIMEOUT_S, MAX_RPC
from p2p.gossip.connections.streams import Room
from p2p.machine.deadlines import fail_after

_WAIT_FOR_ROOM_S: Final = 0.05  # between two looks for room
_MAX_VARINT: Final = 10  # bytes of a length; protobuf's varints have 64 bits
_CHUNK: Final = 65536  # bytes of one read


class RpcReader:
    """The reader of one stream."""

    __slots__ = ("_buffer", "_room", "_stream")

    def __init__(self, stream: Any, room: Room) -> None:
        """room: where unparsed bytes are counted (door.Intake)."""
        self._stream, self._room = stream, room
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """The next RPC. Raises RemoteProtocolError for what is no length, a longer one than MAX_RPC, or half an RPC;
        Unavailable at the stream's end; trio.TooSlowError; and what the library raises."""
        start, end = await self._announced()
        if len(self._buffer) < end:
            with fail_after(FRAME_TIMEOUT_S):
                await self._fill(end)
        rpc = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return rpc

    async def _fill(self, end: int) -> None:
        while not self._room.reserve(end, ours=False):
            await trio.sleep(_WAIT_FOR_ROOM_S)
        try:
            while len(self._buffer) < end:
                if not await self._read():
                    raise RemoteProtocolError("the stream ended inside an RPC", field="rpc", code="rpc")
        finally:
            self._room.release(end)

    async def _announced(self) -> tuple[int, int]:
        """(start, end) of the next RPC in the buffer; reads until its length is there."""
        while True:
            size = shift = 0
            for at, byte in enumerate(self._buffer[:_MAX_VARINT]):
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    if size > MAX_RPC:
                        problem = f"an RPC of {size} bytes where at most {MAX_RPC} are allowed"
                        raise RemoteProtocolError(problem, field="rpc", code="too_large")
                    return at + 1, at + 1 + size
            if len(self._buffer) >= _MAX_VARINT:
                raise RemoteProtocolError("an RPC's length is not a varint", field="rpc", code="varint")
            if not await self._read():
                if self._buffer:
                    raise RemoteProtocolError("the stream ended inside an RPC", field="rpc", code="rpc")
                raise Unavailable("the peer closed its gossip stream", field="stream", code="closed")

    async def _read(self) -> int:
        chunk: bytes = await self._stream.read(_CHUNK)
        self._buffer += chunk
        return len(chunk)
