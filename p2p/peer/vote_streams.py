"""Streams that carry votes and proposals to other peers and back. Law: one open stream in each direction; a slow peer
delays only itself.

The exchange (consensus/vote_exchange.py) says what is due to whom and when. Here are one writer for each neighbour, one
reader for each stream that a neighbour opened, and a clock that sleeps when nothing is due. A validator keeps streams
to all other validators of a set that is small enough; any other peer to a few of those it is connected to, validators
first, which give it the proposal and the votes that decided each height. It dials nobody: validators are partners,
whose connections discovery keeps (SLOT-4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.errors import FolkmootError
from p2p.base.keys import public_key_of
from p2p.base.limits import (
    MAX_BUNDLE,
    MAX_FOLLOWERS,
    UPSTREAMS,
    VOTE_LOOK_S,
)
from p2p.consensus.engine import ConsensusEngine, now_ms
from p2p.consensus.vote_neighbours import MESH
from p2p.machine.tasks import once

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream

log = structlog.get_logger()
PROTOCOL = "votes"
SLOW_LOOK_MS = 10  # between two looks while all that are due frames still take earlier ones


@dataclass(slots=True)
class Writer:
    """The task that sends to one neighbour."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    due: trio.Event = field(default_factory=trio.Event)  # set when a frame is due


@dataclass(slots=True)
class VoteStreams:
    """The streams of one peer. validators: peer ids of those that decide the next block; connected: peers that have
    greeted; open_stream(peer, protocol); publish: to the mesh; is_open: whether votes are taken
    now (below a checkpoint they prove nothing)."""

    me: str
    engine: ConsensusEngine
    validators: Callable[[], frozenset[str]]
    connected: Callable[[], tuple[str, ...]]
    open_stream: Callable[[str, str], Awaitable[Stream]]
    publish: Callable[[str, bytes], Awaitable[None]]
    is_open: Callable[[], bool] = lambda: True
    _writers: dict[str, Writer] = field(default_factory=dict)
    _readers: dict[str, trio.CancelScope] = field(default_factory=dict)
    _woken: trio.Event = field(default_factory=trio.Event)
    _next_ms: float = inf  # when the clock looks next

    def __post_init__(self) -> None:
        self.engine.on_due = self.wake

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_clock)
            while True:
                self._connect(nursery)
                await trio.sleep(VOTE_LOOK_S)

    async def serve(self, stream: Stream) -> None:
        """Read the frames of a stream that another peer opened, until it ends. A newer one of the same peer takes its
        place: a connection that broke may not have been noticed. Raises RemoteProtocolError."""
        if stream.peer in self._readers:
            self._readers.pop(stream.peer).cancel()
        with trio.CancelScope() as scope:
            self._readers[stream.peer] = scope
            try:
                while True:
                    frame = await stream.receive(limit=MAX_BUNDLE, timeout_s=inf)
                    if self.is_open():
                        await self.engine.hear(stream.peer, frame)
            finally:
                if self._readers.get(stream.peer) is scope:
                    del self._readers[stream.peer]

    def wake(self) -> None:
        """Something may be due earlier than was known."""
        due = self.engine.exchange.due_ms()
        if due is not None and due < self._next_ms:
            self._woken.set()

    async def _keep_clock(self) -> None:
        """Let the exchange's time pass; wake the writers that have something to send."""
        while True:
            self._woken = trio.Event()
            now, exchange = now_ms(), self.engine.exchange
            ready, woke = exchange.advance(now), False
            for peer in ready:
                if peer == MESH:
                    frame = exchange.frame(MESH, now)
                    if frame is not None:
                        await self.publish("votes", frame)
                elif peer in self._writers and not self._writers[peer].due.is_set():
                    self._writers[peer].due.set()
                    woke = True
            due = exchange.due_ms()
            # a neighbour whose writer is still sending stays due: where nobody else is, a look now and then is enough
            pause_ms = exchange.pace.tick_ms if woke or not ready else SLOW_LOOK_MS
            self._next_ms = inf if due is None else max(due, now + pause_ms)
            with trio.move_on_after(max(0.0, self._next_ms - now_ms()) / 1000):
                await self._woken.wait()

    # -- whom to have a stream to ---------------------------------------------------------------------------------

    def _connect(self, nursery: trio.Nursery) -> None:
        """Start a writer for whoever lacks one."""
        wanted = self._wanted(set(self.connected()))
        for peer, writer in self._writers.items():
            if peer not in wanted:
                writer.scope.cancel()
        for peer in wanted:
            if peer not in self._writers:
                self._writers[peer] = Writer()
                nursery.start_soon(once, "a stream of votes", self._write, peer)

    def _wanted(self, linked: set[str]) -> list[str]:
        """Whom to have a stream to, those who vote first. linked: peers that have greeted."""
        voters = self.validators()
        if self.engine.exchange.is_mesh():
            return []
        others = sorted(linked & voters)
        if self.me not in voters:
            near = others + sorted(linked - voters)
            kept = [peer for peer in near if peer in self._writers]
            others = (kept + [peer for peer in near if peer not in kept])[:UPSTREAMS]
        followers = [peer for peer in self._readers if peer not in voters and peer not in others and peer in linked]
        return others + followers[:MAX_FOLLOWERS]

    async def _write(self, peer: str) -> None:
        """Open a stream and send what is due, until it breaks."""
        writer = self._writers[peer]
        try:
            with writer.scope:
                stream = await self.open_stream(peer, PROTOCOL)
                try:
                    await stream.agreed()
                    await self._send(peer, stream, writer)
                finally:
                    await stream.close()
        except FolkmootError as error:
            log.debug("no stream of votes", peer=peer, reason=str(error))
        finally:
            del self._writers[peer]

    async def _send(self, peer: str, stream: Stream, writer: Writer) -> None:
        self.engine.exchange.up(peer, public_key_of(peer), now_ms())
        self.wake()
        try:
            while True:
                await writer.due.wait()
                writer.due = trio.Event()
                frame = self.engine.exchange.frame(peer, now_ms())
                if frame is not None:
                    await stream.send(frame)
        finally:
            self.engine.exchange.down(peer)
