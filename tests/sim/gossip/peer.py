"""An honest peer: the real router, and what the shell does around it.

Law: the peer judges at once, sends what is due within a tick, and keeps enough connections that it dialled itself.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from p2p.base.outcome import Outcome
from p2p.gossipsub.params import Params
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Delivery, Rpc, Version
from tests.sim.gossip.measure import Book
from tests.sim.gossip.world import FORWARD_MS, TICK_MS, Link, Traffic, World

TOPIC = "/folkmoot/blocks"
GOOD = b"good"  # messages of honest peers begin so, all others are wrong for everybody
MOST_BYTES = 1 << 20  # of one RPC
DIALS = 2  # new connections that a peer begins in one heartbeat


class Peer:
    """name: "p17" for the peer with index 17."""

    deaf = False

    def __init__(self, world: World, index: int, params: Params, book: Book, *, dials: int, seed: int) -> None:
        self.name, self.index = f"p{index}", index
        self.place = (world.rng.random(), world.rng.random())
        self.links: dict[str, Link] = {}
        self.traffic = Traffic()
        self.up = False
        self.dialled: dict[str, None] = {}
        self.population: Callable[[], Peer] = lambda: self  # draws somebody to dial
        self.began: Callable[[Peer], None] = lambda _: None  # told when it starts
        self.busy_until_ms = 0  # a peer that is stalled reads, sends and counts nothing until then
        self._world, self._params, self._book, self._dials, self._seed = world, params, book, dials, seed
        self._lives = 0
        self._flush_ms: int | None = None  # when what is due leaves next
        self.router = Router(params, Random(seed), me=self.name)

    # -- life

    def begin(self) -> None:
        """Start, with nothing remembered."""
        self._lives += 1
        self.up = True
        self.router = Router(self._params, Random(self._seed * 1000 + self._lives), me=self.name)
        self.router.join(TOPIC, self._world.now)
        self._book.begins(self.index, self._world.ms)
        self.began(self)
        for _ in range(self._dials):
            self.dial(self.population())
        self._world.after(self._world.rng.randint(1, 1000), self._heartbeat, self._lives)

    def end(self, notice_ms: int) -> None:
        """Vanish; each neighbour notices within so many ms."""
        self.up = False
        self._book.ends(self.index, self._world.ms)
        for name in list(self.links):
            self._world.disconnect(self, name, self._world.rng.randint(1, notice_ms))
        self.dialled.clear()

    def dial(self, other: Peer) -> None:
        """Connect to another honest peer, where both are up and not connected yet."""
        if other is self or not other.up or other.name in self.links or self.name in other.links:
            return
        self._world.connect(self, other)
        self.dialled[other.name] = None
        self.meet(other.name, outbound=True, group="")
        other.meet(self.name, outbound=False, group="")

    def meet(self, name: str, *, outbound: bool, group: str) -> None:
        """A link to `name` is open."""
        self.router.add_peer(name, version=Version.V1_2, outbound=outbound, group=group, now=self._world.now)
        self._flush_soon()

    def lost(self, source: str) -> None:
        """A link has closed."""
        self.dialled.pop(source, None)
        if self.up:
            self.router.remove_peer(source, self._world.now)
            self._flush_soon()

    # -- gossip

    def hear(self, source: str, rpc: Rpc) -> None:
        """An RPC has come."""
        if self._world.ms < self.busy_until_ms:
            self._world.after(self.busy_until_ms - self._world.ms, self.hear_late, source, rpc)
            return
        for delivery in self.router.receive(source, rpc, self._world.now):
            self.router.judge(delivery.id, self._judge(delivery), self._world.now)
        asks = rpc.ihave or rpc.iwant or rpc.graft or rpc.subscriptions
        self._flush_soon(TICK_MS if asks else self._world.rng.randint(2 * TICK_MS, FORWARD_MS))

    def hear_late(self, source: str, rpc: Rpc) -> None:
        """An RPC that waited while the peer was stalled."""
        if source in self.links:
            self.hear(source, rpc)

    def publish(self, data: bytes) -> None:
        id_ = self.router.publish(TOPIC, data, self._world.now)
        self._book.published(id_, self.index, self._world.ms)
        self._flush_soon()

    def _judge(self, delivery: Delivery) -> Outcome:
        if not delivery.data.startswith(GOOD):
            return Outcome.REJECT
        self._book.delivered(delivery.id, self.index, delivery.peer, self._world.ms)
        return Outcome.ACCEPT

    # -- the shell

    def _heartbeat(self, life: int) -> None:
        if not self.up or life != self._lives:
            return
        if self._world.ms < self.busy_until_ms:
            self._world.after(self.busy_until_ms - self._world.ms, self._heartbeat, life)
            return
        self.router.heartbeat(self._world.now)
        for _ in range(min(DIALS, self._dials - len(self.dialled))):
            self.dial(self.population())
        self._flush_soon()
        self._world.after(1000, self._heartbeat, life)

    def _flush_soon(self, within_ms: int = TICK_MS) -> None:
        at_ms = self._world.ms + within_ms
        if self.router.due() and (self._flush_ms is None or at_ms < self._flush_ms):
            self._flush_ms = at_ms
            self._world.after(within_ms, self._flush, at_ms)

    def _flush(self, at_ms: int) -> None:
        if at_ms != self._flush_ms:
            return  # what was due then has left before
        if self._world.ms < self.busy_until_ms:
            self._world.after(self.busy_until_ms - self._world.ms, self._flush, at_ms)
            return
        self._flush_ms = None
        if not self.up:
            return
        for name in list(self.router.due()):
            while (rpc := self.router.take(name, MOST_BYTES)) is not None:
                if (link := self.links.get(name)) is not None:
                    link.send(rpc)
