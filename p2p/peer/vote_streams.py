"""Streams that carry votes to other peers and back. Law: one open stream in each direction; a slow peer delays only
itself.

The exchange (consensus/vote_exchange.py) says what is due to whom and when. Here are one writer for each neighbour, one
reader for each stream that a neighbour opened, and a clock that sleeps when nothing is due. A validator keeps streams
to all other validators of a set that is small enough; any other peer to a few of those it is connected to, validators
first, which give it the votes that decided each height.
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
    REDIAL_FIRST_S,
    UPSTREAMS,
    VOTE_DIALS_AT_ONCE,
    VOTE_LOOK_S,
    VOTE_REDIAL_MAX_S,
)
from p2p.consensus.engine import ConsensusEngine, now_ms
from p2p.consensus.vote_neighbours import MESH
from p2p.machine.tasks import once

if TYPE_CHECKING:
    from p2p.gossip.streams import Stream

log = structlog.get_logger()
PROTOCOL = "votes"


@dataclass(slots=True)
class Redial:
    """When a peer that could not be reached is tried again."""

    at: float  # trio's time, s
    pause_s: float


@dataclass(slots=True)
class Writer:
    """The task that sends to one neighbour."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    due: trio.Event = field(default_factory=trio.Event)  # set when a frame is due
    is_open: bool = False


@dataclass(slots=True)
class VoteStreams:
    """The streams of one peer. validators: peer ids of those that decide the next block; connected: peers that have
    greeted; open_stream(peer, protocol): dials where it must; publish: to the mesh; is_open: whether votes are taken
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
    _redials: dict[str, Redial] = field(default_factory=dict)
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
            for peer in exchange.advance(now):
                if peer == MESH:
                    frame = exchange.frame(MESH, now)
                    if frame is not None:
                        await self.publish("votes", frame)
                elif peer in self._writers:
                    self._writers[peer].due.set()
            due = exchange.due_ms()
            # a neighbour whose writer is still sending stays due: then one look a tick is enough
            self._next_ms = inf if due is None else max(due, now + exchange.pace.tick_ms)
            with trio.move_on_after(max(0.0, self._next_ms - now_ms()) / 1000):
                await self._woken.wait()

    # -- whom to have a stream to ---------------------------------------------------------------------------------

    def _connect(self, nursery: trio.Nursery) -> None:
        """Start a writer for whoever lacks one."""
        linked, now = set(self.connected()), trio.current_time()
        wanted = self._wanted(linked)
        self._redials = {peer: redial for peer, redial in self._redials.items() if peer in wanted}
        for peer, writer in self._writers.items():
            if peer not in wanted or (writer.is_open and peer not in linked):
                writer.scope.cancel()
        dials = 0
        for peer in wanted:
            redial = self._redials.setdefault(peer, Redial(now + self._patience(peer), REDIAL_FIRST_S))
            if peer in self._writers or (peer not in linked and (redial.at > now or dials >= VOTE_DIALS_AT_ONCE)):
                continue
            dials += peer not in linked
            self._writers[peer] = Writer()
            nursery.start_soon(once, "a stream of votes", self._write, peer)

    def _patience(self, peer: str) -> float:
        """Seconds before this side dials: of two validators one does at once, so that they do not meet half way."""
        return 0.0 if self.me < peer else VOTE_REDIAL_MAX_S

    def _wanted(self, linked: set[str]) -> list[str]:
        """Whom to have a stream to, those who vote first."""
        voters = self.validators()
        if self.engine.exchange.is_mesh():
            return []
        others = sorted(voters - {self.me})
        if self.me not in voters:
            near = [peer for peer in others if peer in linked] + sorted(linked - voters)
            kept = [peer for peer in near if peer in self._writers]
            others = (kept + [peer for peer in near if peer not in kept])[:UPSTREAMS]
        followers = [peer for peer in self._readers if peer not in voters and peer not in others]
        return others + followers[:MAX_FOLLOWERS]

    async def _write(self, peer: str) -> None:
        """Open a stream and send what is due, until it breaks."""
        redial, writer = self._redials[peer], self._writers[peer]
        try:
            with writer.scope:
                stream = await self.open_stream(peer, PROTOCOL)
                try:
                    redial.pause_s, writer.is_open = REDIAL_FIRST_S, True
                    await self._send(peer, stream, writer)
                finally:
                    await stream.close()
        except FolkmootError as error:
            log.debug("no stream of votes", peer=peer, reason=str(error))
        finally:
            redial.at = trio.current_time() + redial.pause_s
            redial.pause_s = min(2 * redial.pause_s, VOTE_REDIAL_MAX_S)
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
