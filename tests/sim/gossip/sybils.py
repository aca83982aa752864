"""Attackers of the gossip mesh, by name; many of one kind act together.

Law: an attacker knows all honest peers and everything that other attackers see, has an address group of its own, and
is bound by nothing but its links.

The first kinds are those of Vyzovitis et al. 2020 (GossipSub: Attack-Resilient Message Propagation in the Filecoin and
ETH2.0 Networks): they graft wherever they can, forward like an honest member until they attack, then drop a share of
all messages, and come back after each PRUNE's back-off. The others break a rule all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p.gossipsub.params import Params
from p2p.gossipsub.rpc import ID_BYTES, Graft, IHave, IWant, Message, Prune, Rpc, Subscription, message_id
from tests.sim.gossip.peer import TOPIC, Peer
from tests.sim.gossip.world import Link, World

_REGRAFT_MS = 15_000  # at most so long after the back-off it grafts again, as in the paper's attackers
_SEEN = 512  # messages that an attacker remembers
_OPEN = Rpc(subscriptions=(Subscription(TOPIC, True),), graft=(Graft(TOPIC),))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the attackers do. Times in ms of the run."""

    begins_ms: int  # they connect
    attacks_ms: int  # until then they behave
    drops: float = 1.0  # share of messages that are not forwarded from then on


class Sybil:
    """One attacker. Links to it are opened by `invade`."""

    deaf = True

    def __init__(self, world: World, index: int, plan: Plan, params: Params) -> None:
        self.name, self.index = f"s{index}", index
        self.place = (world.rng.random(), world.rng.random())
        self.links: dict[str, Link] = {}
        self.world, self.plan, self.params = world, plan, params
        self.mesh: dict[str, None] = {}  # honest peers that may think it a member
        self.seen: dict[bytes, None] = {}  # data of messages

    @property
    def attacks(self) -> bool:
        return self.world.ms >= self.plan.attacks_ms

    def invade(self, victim: Peer) -> None:
        """Connect to an honest peer and ask for a place in its mesh."""
        if victim.up and victim.name not in self.links:
            self.world.connect(self, victim)
            victim.meet(self.name, outbound=False, group=self.name)
            self.links[victim.name].send(_OPEN)
            self.mesh[victim.name] = None

    def lost(self, source: str) -> None:
        """A victim is gone."""
        self.mesh.pop(source, None)

    def hear(self, source: str, rpc: Rpc) -> None:
        for graft in rpc.graft:
            self.mesh[source] = None
            self.on_graft(source, graft)
        for prune in rpc.prune:
            self.mesh.pop(source, None)
            self.on_prune(source, prune)
        for message in rpc.messages:
            if message.data not in self.seen:
                if len(self.seen) >= _SEEN:
                    del self.seen[next(iter(self.seen))]
                self.seen[message.data] = None
                self.on_message(source, message)

    def on_graft(self, source: str, graft: Graft) -> None:
        """A victim has taken it in."""

    def on_prune(self, source: str, prune: Prune) -> None:
        """A victim has thrown it out: it comes back when it may."""
        backoff_ms = 1000 * (prune.backoff_s + 2)
        self.world.after(backoff_ms + self.world.rng.randint(0, _REGRAFT_MS), self.graft, source)

    def on_message(self, source: str, message: Message) -> None:
        """A message that is new here."""
        if not self.attacks or self.world.rng.random() >= self.plan.drops:
            rpc = Rpc(messages=(message,))
            for name in self.mesh:
                if name != source:
                    self.links[name].send(rpc)

    def graft(self, victim: str) -> None:
        if (link := self.links.get(victim)) is not None and victim not in self.mesh:
            link.send(Rpc(graft=(Graft(TOPIC),)))
            self.mesh[victim] = None

    def turn(self) -> None:
        """Once a second."""


class Offerer(Sybil):
    """Offers messages that do not exist, as many as are listened to (IHAVE spam)."""

    def turn(self) -> None:
        if self.attacks:
            for link in self.links.values():
                for _ in range(self.params.max_ihave_messages):
                    ids = tuple(self.world.rng.randbytes(ID_BYTES) for _ in range(8))
                    link.send(Rpc(ihave=(IHave(TOPIC, ids),)))


class Asker(Sybil):
    """Asks every victim for every message it has heard of, again and again (IWANT spam)."""

    def turn(self) -> None:
        if self.attacks:
            ids = tuple(message_id(TOPIC, data) for data in self.seen)[-64:]
            for link in self.links.values():
                for _ in range(2 * self.params.iwant_repeats):
                    link.send(Rpc(iwant=(IWant(ids),)))


class Grafter(Sybil):
    """Grafts ten times a second, whatever the back-off, and forwards nothing (GRAFT flood)."""

    def turn(self) -> None:
        if self.attacks:
            for part_ms in range(0, 1000, 100):
                self.world.after(part_ms, self._flood)

    def _flood(self) -> None:
        for link in self.links.values():
            link.send(Rpc(graft=(Graft(TOPIC),)))


class Liar(Sybil):
    """Sends wrong messages to everybody, one a second, and nothing else (invalid messages)."""

    def turn(self) -> None:
        if self.attacks:
            data = b"wrong" + self.world.rng.randbytes(27)
            for link in self.links.values():
                link.send(Rpc(messages=(Message(TOPIC, data),)))


KINDS: dict[str, type[Sybil]] = {"offerer": Offerer, "asker": Asker, "grafter": Grafter, "liar": Liar, "": Sybil}


def invade(sybils: Sequence[Sybil], victim: Peer, links: int) -> None:
    """A victim gets links to so many attackers."""
    for sybil in sybils[0].world.rng.sample(sybils, min(links, len(sybils))):
        sybil.invade(victim)


def turn(world: World, sybils: Sequence[Sybil]) -> None:
    """All attackers' turn, each second."""
    for sybil in sybils:
        sybil.turn()
    world.after(1000, turn, world, sybils)
