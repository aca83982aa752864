"""Repairs of py-libp2p 0.8.1 that save turns of the event loop, which is most of what a small frame costs.

Law: what has nothing to wait for takes no turn, but for one act in SPELL (machine/locks.py).

Stock, a frame took eight turns to write and five to read, and opening a stream took sixty at each end.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import FLAG_ACK, FLAG_RST, FLAG_SYN, TYPE_WINDOW_UPDATE, Yamux, YamuxStream

from p2p.machine.locks import Lock

_UNSAID: Final = "_folkmoot_unsaid"  # attribute of a multiplexer
_HEADER = struct.Struct("!BBHII")  # version, type, flags, stream, length
_TOLD: Final = ("opened_stream", "closed_stream")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Unsaid:
    """What the other side has not been told yet."""

    begun: set[int] = field(default_factory=set)  # streams of ours
    accepted: bytearray = field(default_factory=bytearray)  # the frames that accept its streams


class WriteLock:
    """What the library uses of its lock for readers and writers: nobody reads under it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()

    def write_lock(self) -> Lock:
        return self._lock


def install() -> None:
    """Patch the library's classes, once per process."""
    _quiet_locks()
    _fewer_frames()
    _quiet_notices()


def _quiet_locks() -> None:
    """G-20: the locks on a frame's way take no turn while they are free.

    The socket's lock for writing never does: it is taken when a message is encrypted already, and one that is cancelled
    then is missing at the other side, which can read nothing more.
    """
    for kind, names in (
        (Yamux, ("streams_lock", "_write_lock")),
        (YamuxStream, ("window_lock", "close_lock")),
        (NetStream, ("_state_lock",)),
        (TrioTCPStream, ("read_lock",)),
    ):
        _replace(kind, dict.fromkeys(names, Lock))
    _replace(YamuxStream, {"rw_lock": WriteLock})
    _replace(TrioTCPStream, {"write_lock": partial(Lock, 0)})


def _replace(kind: Any, made: dict[str, Any]) -> None:
    stock = kind.__init__

    def init(self: Any, *args: Any, **words: Any) -> None:
        stock(self, *args, **words)
        for name, make in made.items():
            setattr(self, name, make())

    kind.__init__ = init


def _fewer_frames() -> None:
    """G-21: a stream begins, and is accepted, with the first frame that says more; stock, by a frame of its own each.

    The first frame of a stream carries its SYN; what ends before it began is not mentioned at all. An ACK leaves in one
    message with the next frame of its connection, at the latest with what answers the new stream: its negotiation's
    first word, or its reset.
    """

    async def write(self: Any, data: bytes) -> None:
        unsaid: _Unsaid | None = self.__dict__.get(_UNSAID)
        if unsaid is None:
            unsaid = self.__dict__[_UNSAID] = _Unsaid()
        version, kind, flags, stream, length = _HEADER.unpack_from(data)
        if kind == TYPE_WINDOW_UPDATE and not length:
            if flags == FLAG_SYN:
                unsaid.begun.add(stream)
                return
            if flags == FLAG_ACK:
                unsaid.accepted += data
                return
        async with self._write_lock:
            await trio.lowlevel.checkpoint_if_cancelled()  # the last chance: see _quiet_locks
            if stream in unsaid.begun:
                unsaid.begun.remove(stream)
                if flags & FLAG_RST:
                    return
                data = _HEADER.pack(version, kind, flags | FLAG_SYN, stream, length) + data[_HEADER.size :]
            if unsaid.accepted:
                data, unsaid.accepted = bytes(unsaid.accepted) + data, bytearray()
            await self.secured_conn.write(data)  # it takes a turn

    Yamux._write_frame = write


def _quiet_notices() -> None:
    """G-22: who wants to know of a stream is told at once; stock, by a task for each, which the stream waited for."""
    stock = Swarm._notify

    async def notify(self: Any, method: str, *args: Any) -> None:
        if method not in _TOLD:
            await stock(self, method, *args)
            return
        for notifee in self.notifees:
            try:
                await getattr(notifee, method)(self, *args)
            except Exception as error:  # as in the library: what one listener raises does not end the connection
                log.debug("%s of %s: %r", method, type(notifee).__name__, error)

    Swarm._notify = notify
