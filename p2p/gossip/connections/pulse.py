"""Notices connections on which nothing comes any more.

Law: a connection is silent only while this process was on time to hear it.

- PULSE-1: a connection on which nothing came for PING_INTERVAL_S of own time (machine/deadlines.py) gets a ping of the
  multiplexer, twelve bytes; a busy one gets none. One ping is open at a time. So a late process pings more seldom, and
  always before PULSE-2 asks for an answer.
- PULSE-2: a connection on which nothing came for SILENT_S of own time, pongs included, is dead.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import trio
from libp2p.stream_muxer.yamux import yamux as yamux_module
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_PING, YAMUX_HEADER_FORMAT, Yamux

from p2p.base.limits import PING_INTERVAL_S, SILENT_S
from p2p.gossip.connections.door import MARK, Intake
from p2p.machine.deadlines import own_time, strain

_LEAST_S = 0.5  # between two looks
_FIRST_S = 0.5  # the library sizes its windows by the answer to the first ping


class Silence:
    """How long each peer has been silent, in own time. Pure."""

    __slots__ = ("_heard",)

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, float]] = {}  # peer -> (when it was heard, own time when that was seen)

    def look(self, heard: Iterable[tuple[str, float]], own_s: float) -> list[str]:
        """Peers that are dead (PULSE-2). heard: (peer, when anything last came from it) of all connections; own_s: own
        time now."""
        seen, dead = dict(heard), []
        self._heard = {peer: entry for peer, entry in self._heard.items() if peer in seen}
        for peer, at in seen.items():
            before = self._heard.get(peer)
            if before is None or before[0] != at:
                self._heard[peer] = (at, own_s)
            elif own_s - before[1] >= SILENT_S:
                dead.append(peer)
        return dead


def install() -> None:
    """G-19: the multiplexer pings a silent connection; stock, it pings each one every 30 seconds."""
    Yamux._measure_rtt_loop = _ping_when_silent


async def _ping_when_silent(self: Any) -> None:
    """PULSE-1. It ends when the connection does: its nursery is cancelled then."""
    await trio.sleep(_FIRST_S)
    heard_s, since_s = 0.0, own_time() - PING_INTERVAL_S
    while not self.event_shutting_down.is_set():
        intake: Intake | None = self.__dict__.get(MARK)
        if intake is not None and intake.heard_at != heard_s and self.rtt():
            heard_s, since_s = intake.heard_at, own_time() - max(0.0, trio.current_time() - intake.heard_at) / strain()
        rest_s = since_s + PING_INTERVAL_S - own_time()
        if rest_s > 0:
            await trio.sleep(max(rest_s, _LEAST_S))
            continue
        self._ping_id += 1
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        ping = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id)
        try:
            await self._write_frame(ping)
        except Exception:  # the connection is broken, and its reader ends it
            return
        await self._ping_event.wait()
        since_s = own_time()
        if intake is not None:
            heard_s = intake.heard_at = trio.current_time()


assert yamux_module.RTT_MEASURE_INTERVAL > PING_INTERVAL_S
