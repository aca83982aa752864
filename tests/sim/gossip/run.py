"""One run: honest peers, perhaps attackers, and what came of it.

Law: the parameters are those of a real network of that size; only the topic's score is the caller's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.gossipsub.params import Priority, TopicScoreParams, params_for
from p2p.gossipsub.rpc import Message, Rpc
from tests.sim.gossip.measure import DEADLINE_MS, Book, Reach
from tests.sim.gossip.peer import GOOD, TOPIC, Peer
from tests.sim.gossip.sybils import KINDS, Plan, invade, turn
from tests.sim.gossip.wire_size import sizes_of
from tests.sim.gossip.world import World

PUBLISHERS = 0.1  # share of honest peers that publish, as in the paper


@dataclass(frozen=True, slots=True)
class Scenario:
    """Times in seconds. Attackers have ratio times as many links to an honest peer as other honest peers have."""

    name: str
    peers: int = 100
    seed: int = 1
    dials: int = 10  # connections that each honest peer opens; it has about twice as many
    rate: float = 4.0  # messages a second, of all publishers together
    size: int = 1024  # bytes of a message
    loss: float = 0.0  # share of RPCs that get lost
    harsh: bool = False  # GRAFTs and PRUNEs too
    churn: float = 0.0  # share of honest peers that vanish in a minute; each comes back after 5 to 30 s
    stalls: float = 0.0  # share of time for which each honest peer stands still, two seconds at most at once
    kind: str = ""  # of attackers
    ratio: int = 0
    attack_links: int = 100  # links of each attacker
    begins: float = 20.0  # attackers connect
    attacks: float = 20.0  # and attack
    drops: float = 1.0
    one_target: bool = False
    honest_late: float = 0.0  # honest peers start so late (cold boot: attackers are there before)
    warm: float = 15.0  # messages are measured from here on
    end: float = 90.0


@dataclass(slots=True)
class Places:
    """Shares of mesh places of all honest peers that attackers hold, by second; and at the end."""

    shares: list[float] = field(default_factory=list)
    encircled: list[int] = field(default_factory=list)  # honest peers with nobody honest in the mesh, by second
    negative: float = 0.0  # share of links to attackers whose score is below 0, at the end
    honest_negative: float = 0.0  # the same of links between honest peers


@dataclass(frozen=True, slots=True)
class Report:
    scenario: Scenario
    sybils: int
    reach: Reach
    target: Reach | None  # of the one target alone
    places: Places
    bytes_per_s: float  # that an honest peer sends
    message_share: float  # of these, in messages
    sent: int  # messages that were published, from the beginning on
    copies: float  # of a message that an honest peer sends, in the mean: as many as it gets where nothing is lost


class _Run:
    """A scenario under way."""

    def __init__(self, scenario: Scenario, scores: TopicScoreParams) -> None:
        s = self.scenario = scenario
        self.world = World(s.seed, loss=s.loss, harsh=s.harsh)
        self.params = params_for(s.peers, priorities={TOPIC: Priority.PROPOSALS}, scores={TOPIC: scores})
        links = s.ratio * 2 * s.dials  # of attackers, to each victim
        victims = 1 if s.one_target else s.peers
        count = links if s.one_target else max(links, links * victims // s.attack_links) if links else 0
        self.book = Book(s.peers, s.peers + count)
        self.peers = [
            Peer(self.world, index, self.params, self.book, dials=s.dials, seed=s.seed * 100_000 + index)
            for index in range(s.peers)
        ]
        plan = Plan(int(s.begins * 1000), int(s.attacks * 1000), s.drops)
        self.sybils = [
            KINDS[s.kind](self.world, index, plan, self.params) for index in range(s.peers, s.peers + count)
        ]
        self.book.indexes.update((sybil.name, sybil.index) for sybil in self.sybils)
        self.target = self.peers[-1] if s.one_target else None
        self.links = links
        self.places = Places()
        self.sent = 0

    def go(self) -> Report:
        s, world = self.scenario, self.world
        start_ms = int(s.honest_late * 1000)
        for peer in self.peers:
            peer.population = lambda: world.rng.choice(self.peers)
            world.after(start_ms + world.rng.randint(1, 1000), peer.begin)
        if self.sybils:
            world.after(int(s.begins * 1000), self._invade)
        world.after(start_ms + 5000, self._publish)
        if s.churn:
            world.after(start_ms + 5000, self._churn)
        if s.stalls:
            for peer in self.peers:
                world.after(start_ms + 5000 + world.rng.randint(1, 2000), self._stall, peer)
        world.after(1000, self._look)
        world.run(int(s.end * 1000) + DEADLINE_MS)
        return self._report()

    def _invade(self) -> None:
        """Every victim that is up, and each other one, or one that comes back, before it has dialled anybody."""
        victims = [self.target] if self.target is not None else self.peers
        for victim in victims:
            victim.began = lambda peer: invade(self.sybils, peer, self.links)
            if victim.up:
                invade(self.sybils, victim, self.links)
        turn(self.world, self.sybils)

    def _publish(self) -> None:
        s, world = self.scenario, self.world
        if world.now < s.end:
            publishers = self.peers[: max(1, int(s.peers * PUBLISHERS))]
            up = [peer for peer in publishers if peer.up] or [peer for peer in self.peers if peer.up]
            self.sent += 1
            data = GOOD + self.sent.to_bytes(8, "big")
            world.rng.choice(up).publish(data + bytes(max(0, s.size - len(data))))
            world.after(int(1000 * world.rng.expovariate(s.rate)), self._publish)

    def _churn(self) -> None:
        s, world = self.scenario, self.world
        up = [peer for peer in self.peers if peer.up]
        leaver = world.rng.choice(up)
        leaver.end(5000)
        world.after(world.rng.randint(5000, 30_000), leaver.begin)
        world.after(int(60_000 * world.rng.expovariate(s.churn * s.peers)), self._churn)

    def _stall(self, peer: Peer) -> None:
        s, world = self.scenario, self.world
        stalled_ms = world.rng.randint(100, 2000)
        peer.busy_until_ms = world.ms + stalled_ms
        world.after(int(stalled_ms / s.stalls), self._stall, peer)

    def _look(self) -> None:
        """Who is in honest meshes."""
        held = places = encircled = 0
        for peer in [self.target] if self.target is not None else self.peers:
            mesh = peer.router.mesh(TOPIC) if peer.up else ()
            bad = sum(name[0] == "s" for name in mesh)
            held, places = held + bad, places + len(mesh)
            encircled += bool(mesh) and bad == len(mesh)
        self.places.shares.append(held / max(1, places))
        self.places.encircled.append(encircled)
        self.world.after(1000, self._look)

    def _report(self) -> Report:
        s = self.scenario
        scores = [
            (name[0] == "s", peer.router.score(name)) for peer in self.peers if peer.up for name in peer.links
        ]
        bad = [score < 0 for sybil, score in scores if sybil]
        good = [score < 0 for sybil, score in scores if not sybil]
        self.places.negative = sum(bad) / max(1, len(bad))
        self.places.honest_negative = sum(good) / max(1, len(good))
        sent = sum(peer.traffic.bytes for peer in self.peers)
        messages = sum(peer.traffic.message_bytes for peer in self.peers)
        _, each = sizes_of(Rpc(messages=(Message(TOPIC, bytes(max(s.size, len(GOOD) + 8))),)))
        period = int(s.warm * 1000), int(s.end * 1000)
        return Report(
            s, len(self.sybils), self.book.reach(*period),
            self.book.reach(*period, of=range(s.peers - 1, s.peers)) if s.one_target else None, self.places,
            sent / len(self.peers) / self.world.now, messages / max(1, sent),
            self.sent, messages / each / max(1, self.sent) / len(self.peers),
        )


def run(scenario: Scenario, scores: TopicScoreParams) -> Report:
    """scores: of the topic."""
    return _Run(scenario, scores).go()
