"""Virtual time, and links between peers that delay and lose what they carry.

Law: one seeded generator and one queue of events in the order of their milliseconds; equal seeds give equal runs.

A link keeps the order of what it carries, as a stream does. What is lost is a whole RPC: messages, IHAVE, IWANT and
IDONTWANT. An RPC with a subscription, GRAFT or PRUNE is lost only where `harsh`: a router never sheds these, and a
stream that loses one has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import dist
from random import Random
from typing import Any, Protocol

from p2p.gossipsub.rpc import Rpc
from tests.sim.gossip.wire_size import sizes_of

TICK_MS = 10  # what is due to a neighbour leaves within it, as in the shell
FORWARD_MS = 40  # what is forwarded waits for so long at most, as in the shell (LINK-2)
NEAR_MS, FAR_MS = 5, 150  # one way, between peers at one place and at opposite corners of the map
JITTER = 0.1  # of that, at random


class Node(Protocol):
    """Whatever is at an end of a link."""

    name: str
    place: tuple[float, float]
    links: dict[str, Link]
    deaf: bool  # does not listen to IHAVEs: a shortcut for those that are many

    def hear(self, source: str, rpc: Rpc) -> None: ...
    def lost(self, source: str) -> None: ...


@dataclass(slots=True)
class Traffic:
    """Counted at the sender, lost RPCs included."""

    rpcs: int = 0
    bytes: int = 0
    message_bytes: int = 0


class World:
    """Time in whole milliseconds, and what happens at each."""

    def __init__(self, seed: int, *, loss: float = 0.0, harsh: bool = False) -> None:
        self.rng = Random(seed)
        self.loss, self.harsh = loss, harsh
        self.ms = 0
        self._events: dict[int, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}

    @property
    def now(self) -> float:
        """Seconds."""
        return self.ms / 1000

    def after(self, delay_ms: int, action: Callable[..., None], *of: Any) -> None:
        """Do it so much later, at least a millisecond."""
        self._events.setdefault(self.ms + max(1, delay_ms), []).append((action, of))

    def run(self, until_ms: int) -> None:
        while self.ms < until_ms:
            self.ms += 1
            for action, of in self._events.pop(self.ms, ()):
                action(*of)

    def connect(self, dialler: Node, other: Node) -> None:
        """Open a link each way. Whoever has a router tells it."""
        way_ms = int(NEAR_MS + (FAR_MS - NEAR_MS) * dist(dialler.place, other.place) / 2**0.5)
        dialler.links[other.name] = Link(self, dialler, other, way_ms)
        other.links[dialler.name] = Link(self, other, dialler, way_ms)

    def disconnect(self, leaver: Node, name: str, notice_ms: int = 1) -> None:
        """Close both ways; the other side notices so much later. It may have left before, unnoticed."""
        link = leaver.links.pop(name)
        if link.open:
            back = link.target.links[leaver.name]
            link.open = back.open = False
            self.after(notice_ms, self._notice, back)

    def _notice(self, back: Link) -> None:
        if back.source.links.get(back.target.name) is back:
            del back.source.links[back.target.name]
            back.source.lost(back.target.name)


class Link:
    """One way between two nodes."""

    __slots__ = ("_last_ms", "_way_ms", "_world", "open", "source", "target", "traffic")

    def __init__(self, world: World, source: Node, target: Node, way_ms: int) -> None:
        self._world, self.source, self.target, self._way_ms = world, source, target, way_ms
        self._last_ms = 0  # when the last RPC arrives
        self.open = True
        self.traffic = getattr(source, "traffic", None) or Traffic()

    def send(self, rpc: Rpc) -> None:
        world, traffic = self._world, self.traffic
        traffic.rpcs += 1
        control, messages = sizes_of(rpc)
        traffic.bytes += control + messages
        traffic.message_bytes += messages
        safe = rpc.subscriptions or ((rpc.graft or rpc.prune) and not world.harsh)
        if world.loss and not safe and world.rng.random() < world.loss:
            return
        if self.target.deaf and not (rpc.messages or rpc.graft or rpc.prune or rpc.subscriptions):
            return
        arrives = world.ms + int(self._way_ms * (1 + JITTER * world.rng.random()))
        self._last_ms = max(self._last_ms, arrives)
        world.after(self._last_ms - world.ms, self._arrive, rpc)

    def _arrive(self, rpc: Rpc) -> None:
        if self.open:
            self.target.hear(self.source.name, rpc)
