"""A stream of frames to one peer.

Law: every read is bounded in size and time, and its error says whose fault it was.

A frame is an unsigned varint length and that many bytes.

- FRAME-1: a length above the limit is refused before any of the body is kept.
- FRAME-2: a library error of any kind becomes Unavailable: the peer, or the way to it, is gone.
- FRAME-3: a frame that has begun takes its announced size from the peer's unparsed bytes. Where there is no room, a
  stranger's frame is refused, and one that we asked for waits unread. At most 1 KiB is read beyond a frame.
- FRAME-4: the next frame of a peer that owes CPU is read when the peer owes nothing any more.
- FRAME-5: a stream that we opened agrees on its protocol by the way: our first write proposes it, and the peer's answer
  is read before its first frame (opening.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from p2p.base.errors import LocalProtocolError, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.limits import DISCONNECT_TIMEOUT_S, FRAME_TIMEOUT_S, MAX_FRAME
from p2p.gossip.connections.opening import Opening
from p2p.machine.deadlines import fail_after, move_on_after
from p2p.machine.locks import Lock

_CHUNK = 65536  # bytes of one read
_AHEAD = 1024  # bytes read before a frame's length is known: all that a stream keeps in addition to counted frames
_MAX_VARINT = 5  # bytes of a length below 2**35
_WRITE = 64 * 1024  # bytes of one write
_WAIT_FOR_ROOM_S = 0.05  # between two looks for room
_PACE_S = 1.0  # between two looks at what a peer owes


class Room(Protocol):
    """Where unparsed bytes are counted (door.Intake)."""

    def reserve(self, amount: int, *, ours: bool) -> bool: ...

    def release(self, amount: int) -> None: ...


class Stream:
    """One bidirectional stream. The connection below it has authenticated `peer`."""

    __slots__ = (
        "_buffer", "_ended", "_opening", "_ours", "_pace_s", "_raw", "_reserved", "_room", "_sending", "on_paid",
        "peer",
    )

    def __init__(
        self, raw: Any, peer: str, room: Room | None = None, *, ours: bool = True,
        pace_s: Callable[[], float] = lambda: 0.0, opening: Opening | None = None,
    ) -> None:
        """room: where unparsed bytes are counted. ours: we opened the stream. pace_s: seconds for which its next frame
        waits. opening: its protocol is not agreed on yet."""
        self.on_paid: Callable[[], None] = lambda: None
        self._pace_s = pace_s
        self._raw = raw
        self._room = room
        self._ours = ours
        self._opening = opening
        self._reserved = 0
        self._buffer = bytearray()
        self._ended = False
        self._sending = Lock()
        self.peer = peer

    async def send(self, *frames: bytes) -> None:
        """Send one frame, or some small ones in one write. Raises Unavailable when the peer does not take them in time,
        LocalProtocolError above MAX_FRAME."""
        for frame in frames:
            if len(frame) > MAX_FRAME:
                raise LocalProtocolError(
                    f"{len(frame)} bytes do not fit a frame of at most {MAX_FRAME}", field="frame", code="too_large",
                )
        data = b"".join(_varint(len(frame)) + frame for frame in frames)
        await self._guarded(lambda: self._write(data), FRAME_TIMEOUT_S)

    async def agreed(self) -> None:
        """Returns once the peer has agreed on the protocol: for who sends and never receives. Raises Unavailable."""
        if self._opening is None:
            return

        async def read() -> None:
            await self._write(b"")
            while (opening := self._opening) is not None:
                if opening.hear(self._buffer):
                    self._opening = None
                    return
                self._buffer += await self._read(_AHEAD)

        await self._guarded(read, self._opening.timeout_s)

    async def receive(self, *, limit: int = MAX_FRAME, timeout_s: float = FRAME_TIMEOUT_S) -> bytes:
        """The next frame, of at most `limit` bytes.

        Raises RemoteProtocolError('too_large' | 'varint'); Unavailable at the stream's end, at a reset and after
        `timeout_s` seconds, and where the peer does not speak the protocol; Overloaded where too much of the peer waits
        already.
        """
        await self.agreed()
        while (pause_s := self._pace_s()) > 0:
            await trio.sleep(min(pause_s, _PACE_S))
        frame: bytes | None = None

        async def read() -> None:
            nonlocal frame
            while (frame := self._take(limit)) is None:
                await self._reserve()
                self._buffer += await self._read(min(self._missing(), limit + _MAX_VARINT))

        await self._guarded(read, timeout_s)
        assert frame is not None
        return frame

    @property
    def connection(self) -> Any:
        """The library's connection below it."""
        return self._raw.muxed_conn

    def detach(self) -> tuple[bytes, Any]:
        """From here on the stream carries bytes, not frames. Returns what was read ahead, and the library's stream,
        which the caller ends."""
        ahead = bytes(self._buffer)
        self._buffer.clear()
        self._release()
        self._ended = True
        return ahead, self._raw

    def paid(self) -> None:
        """What the handler does from here on is paid for, so it is not charged as the peer's CPU any more."""
        self.on_paid()

    async def close(self) -> None:
        """End our side of the stream. Never raises, even where the peer is gone."""
        self._release()
        if self._ended:
            return
        self._ended = True
        is_begun = self._opening is None or not self._opening.unsent
        await self._quietly(self._raw.close if is_begun else self._raw.reset)

    async def reset(self) -> None:
        """End the stream on both sides. Never raises."""
        self._release()
        self._ended = True
        await self._quietly(self._raw.reset)

    async def _write(self, data: bytes) -> None:
        """Write `data`, after what is unsent of the opening, in as few writes as possible."""
        async with self._sending:
            if self._opening is not None:
                data = self._opening.unsent + data
            for at in range(0, len(data), _WRITE):
                await self._raw.write(data[at : at + _WRITE])
                if self._opening is not None:
                    self._opening.unsent = b""

    async def _read(self, most: int) -> bytes:
        chunk: bytes = await self._raw.read(most)
        if not chunk:
            raise Unavailable("the peer closed the stream", field="stream", code="closed")
        return chunk

    async def _reserve(self) -> None:
        """FRAME-3: room for the frame that has begun, once its length is known."""
        announced = self._announced()
        if self._room is None or self._reserved or announced is None:
            return
        amount = sum(announced)
        while not self._room.reserve(amount, ours=self._ours):
            if not self._ours:
                raise Overloaded(
                    "too many unfinished bytes of you, or of your network, wait here; send less at once", field="frame",
                )
            await trio.sleep(_WAIT_FOR_ROOM_S)
        self._reserved = amount

    def _release(self) -> None:
        if self._room is not None and self._reserved:
            self._room.release(self._reserved)
        self._reserved = 0

    def _take(self, limit: int) -> bytes | None:
        announced = self._announced()
        if announced is None:
            return None
        start, size = announced
        if size > limit:
            raise RemoteProtocolError(
                f"a frame of {size} bytes where at most {limit} are allowed", field="frame", code="too_large",
            )
        if len(self._buffer) < start + size:
            return None
        frame = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        self._release()
        return frame

    def _missing(self) -> int:
        """Bytes to read: the rest of a frame whose room is reserved. What is not read stays in the multiplexer, where
        it is counted already."""
        announced = self._announced()
        return _AHEAD if announced is None else min(_CHUNK, sum(announced) - len(self._buffer))

    def _announced(self) -> tuple[int, int] | None:
        """(bytes that the length takes, the length) of the first frame in the buffer; None before the length is
        whole."""
        size = shift = 0
        for at, byte in enumerate(self._buffer[:_MAX_VARINT]):
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return at + 1, size
        if len(self._buffer) >= _MAX_VARINT:
            raise RemoteProtocolError("a frame's length is not a varint in range", field="frame", code="varint")
        return None

    async def _guarded(self, action: Callable[[], Awaitable[None]], timeout_s: float) -> None:
        try:
            with fail_after(timeout_s):
                await action()
        except trio.TooSlowError as error:
            raise Unavailable(
                f"nothing came from the peer for {timeout_s:g} s", field="stream", code="timeout",
            ) from error
        except (RemoteProtocolError, Unavailable, Overloaded):
            raise
        except Exception as error:  # the library raises dozens of types, KeyError among them (FRAME-2)
            raise Unavailable(f"the stream broke: {type(error).__name__}", field="stream") from error

    async def _quietly(self, action: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope(shield=True), move_on_after(DISCONNECT_TIMEOUT_S):
            try:
                await action()
            except Exception:  # ending a broken stream may fail in any way, and nothing depends on it
                return


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
