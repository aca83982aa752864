"""A gossipsub router without I/O, clock or randomness of its own (libp2p specification, v1.1, and IDONTWANT of v1.2).

Law: the same calls give the same answers. `now` is in seconds and never goes back; `rng` is the caller's.

The rules and their labels are specified in docs/gossipsub.md.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from p2p.base.limits import MAX_CONTROL_TOPICS, MAX_TOPIC_NAME, MAX_TOPICS_PER_PEER
from p2p.base.outcome import Outcome
from p2p.gossipsub.backoffs import Backoffs
from p2p.gossipsub.exchange import Exchange
from p2p.gossipsub.fanout import Fanout
from p2p.gossipsub.gossip import Gossip
from p2p.gossipsub.lot import Lot
from p2p.gossipsub.mesh import Mesh
from p2p.gossipsub.message_cache import MessageCache
from p2p.gossipsub.messages import Messages
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.params import Params, Priority
from p2p.gossipsub.promises import Promises
from p2p.gossipsub.rpc import Delivery, PeerInfo, Rpc, Subscription, Version
from p2p.gossipsub.topic import Topic

__all__ = ["Delivery", "Router"]

class Router:
    """One peer's part in gossip: `receive` what a neighbour sent, `judge` what is new, `take` what is due to each."""

    __slots__ = (
        "_backoffs", "_cache", "_exchange", "_fanout", "_gossip", "_graylisted", "_mesh", "_messages", "_neighbours",
        "_now", "_params", "_promises", "_rng", "_tick", "_topics", "me",
    )

    def __init__(self, params: Params, rng: Lot, *, me: str) -> None:
        """me: this peer's id."""
        self.me = me
        self._params, self._rng = params, rng
        self._neighbours = Neighbours(params)
        self._backoffs = Backoffs(params.backoff_slack * params.heartbeat_s)
        self._exchange = Exchange(self._neighbours, rng)
        self._mesh = Mesh(self._neighbours, self._backoffs, self._exchange, rng)
        self._cache, self._promises = MessageCache(params.history_length), Promises()
        self._gossip = Gossip(self._neighbours, self._cache, self._promises, rng)
        self._fanout = Fanout(self._neighbours, rng)
        self._topics: dict[str, Topic] = {}  # that we are on
        self._messages = Messages(self._topics, self._neighbours, self._cache, self._gossip, self._fanout)
        self._graylisted = 0  # messages that were dropped because of it
        self._tick, self._now = 0, 0.0

    # -- topics

    def join(self, topic: str, now: float) -> None:
        """Subscribe, and graft peers that are on the topic."""
        self._now = now
        if topic in self._topics:
            return
        joined = self._topics[topic] = Topic(topic, self._params, self._rng)
        self._announce(topic, subscribe=True)
        self._mesh.begin(joined, self._fanout.leave(topic), now)

    def leave(self, topic: str, now: float) -> None:
        """Unsubscribe, and prune the topic's mesh."""
        self._now = now
        left = self._topics.pop(topic, None)
        if left is not None:
            self._mesh.end(left, now)
            self._announce(topic, subscribe=False)

    def _announce(self, topic: str, *, subscribe: bool) -> None:
        for one in self._neighbours.by_name.values():
            one.queue.control.subscribe(topic, subscribe)
            self._neighbours.wake(one)

    # -- neighbours

    def add_peer(self, peer: str, *, version: Version, outbound: bool, group: str, now: float) -> None:
        """A neighbour can be written to. outbound: we dialled it. group: its address group, "" for none. Adding a known
        neighbour again, with a new stream, changes these, and it hears of the latest messages again."""
        self._now = now
        assert peer != self.me, "a router is not its own neighbour"
        one = self._neighbours.add(peer, version=version, dialled=outbound, group=group, now=now)
        if one is not None and self._topics:
            for topic in self._topics:
                one.queue.control.subscribe(topic, True)
            self._neighbours.wake(one)

    def remove_peer(self, peer: str, now: float) -> None:
        """It is gone. Its score and its back-offs are remembered. Unknown peers are no error, here and below."""
        self._now = now
        one = self._neighbours.remove(peer, now)
        if one is not None:
            for topic in self._topics.values():
                topic.remove(one)

    def wants(self, peer: str, wanted: bool) -> None:
        """Whether `peer` gets every message of its topics, in the mesh or not, and keeps its place there. It may be
        said before the peer is connected."""
        self._neighbours.want(peer, wanted)
        for topic in self._topics.values():
            topic.receivers = None

    def app_score(self, peer: str, points: float) -> None:
        """Set the application's part of its score (P5)."""
        self._neighbours.scores.app_score(peer, points)
        if (one := self._neighbours.by_name.get(peer)) is not None:
            one.score = self._neighbours.scores.score(peer, self._now)

    def describe(self, peer: str, info: PeerInfo) -> None:
        """What PRUNEs may tell others about a neighbour. One that is never described is never named to others."""
        if (one := self._neighbours.by_name.get(peer)) is not None:
            one.info = info

    # -- messages

    def receive(self, peer: str, rpc: Rpc, now: float) -> list[Delivery]:
        """Take in what a neighbour sent. Returns the new messages of joined topics; each waits for `judge`."""
        self._now = now
        one = self._neighbours.by_name.get(peer)
        if one is None:
            return []
        if one.score < self._params.thresholds.graylist:
            self._graylisted += len(rpc.messages)
            return []
        if rpc.subscriptions:
            self._on_subscriptions(one, rpc.subscriptions[:MAX_TOPICS_PER_PEER], now)
        if rpc.idontwant:
            self._gossip.on_idontwant(one, rpc.idontwant)
        found = self._messages.take_in(one, rpc.messages, now) if rpc.messages else []
        if rpc.graft or rpc.prune:
            self._on_mesh(one, rpc, now)
        if rpc.ihave:
            self._gossip.on_ihave(one, rpc.ihave, self._topics, self._messages.is_known, now)
        if rpc.iwant:
            self._gossip.on_iwant(one, rpc.iwant)
        return found

    def judge(self, id: bytes, outcome: Outcome, now: float) -> None:
        """The fate of a delivered message. ACCEPT: forwarded. IGNORE: forgotten. REJECT: all who sent it lose."""
        self._now = now
        self._messages.judge(id, outcome, now)

    def publish(self, topic: str, data: bytes, now: float) -> bytes:
        """Send a message of our own. Returns its id. What was published before is sent again."""
        self._now = now
        return self._messages.publish(topic, data, now)

    # -- control messages

    def _on_subscriptions(self, one: Neighbour, subscriptions: tuple[Subscription, ...], now: float) -> None:
        for said in subscriptions:
            if said.subscribe:
                self._subscribed(one, said.topic)
            elif said.topic in one.topics:
                one.topics.discard(said.topic)
                topic = self._topics.get(said.topic)
                if topic is not None and topic.remove(one):
                    self._neighbours.scores.prune(one.name, topic.name, now)

    def _subscribed(self, one: Neighbour, name: str) -> bool:
        """A neighbour is on a topic. False: it is on too many, or the name is too long."""
        if name in one.topics:
            return True
        if len(one.topics) >= MAX_TOPICS_PER_PEER or len(name) > MAX_TOPIC_NAME:
            return False
        one.topics.add(name)
        if (topic := self._topics.get(name)) is not None:
            topic.receivers = None
        return True

    def _on_mesh(self, one: Neighbour, rpc: Rpc, now: float) -> None:
        """GRAFTs and PRUNEs; those for topics that we are not on are not answered. A GRAFT says that its sender is on
        the topic."""
        for graft in rpc.graft[:MAX_CONTROL_TOPICS]:
            topic = self._topics.get(graft.topic)
            if topic is not None and self._subscribed(one, graft.topic):
                self._mesh.on_graft(one, topic, now)
        for prune in rpc.prune[:MAX_CONTROL_TOPICS]:
            topic = self._topics.get(prune.topic)
            if topic is not None:
                self._mesh.on_prune(one, topic, prune, now)

    # -- time

    def heartbeat(self, now: float) -> None:
        """Upkeep of meshes, gossip, caches and scores; once in `params.heartbeat_s`."""
        self._now = now
        self._tick += 1
        self._neighbours.rescore(now)
        self._gossip.turn(now)
        self._backoffs.expire(now)
        for topic in self._topics.values():
            self._mesh.upkeep(topic, now, self._tick)
        self._fanout.upkeep(now)
        self._gossip.emit(self._topics.values())
        self._cache.shift()
        self._messages.turn(now)
        self._neighbours.turn(now)
        self._gossip.ask_again(now)

    # -- what is to be sent, and to be done

    def due(self) -> Set[str]:
        """Neighbours for which something waits. A live view: copy it before taking."""
        return self._neighbours.due.keys()

    def take(self, peer: str, most_bytes: int) -> Rpc | None:
        """What waits for a neighbour, the most important first, as one RPC of about `most_bytes` of content at most
        (one larger message comes alone). None: nothing waits, or nobody has this name. Call it again while `due`."""
        one = self._neighbours.by_name.get(peer)
        if one is None:
            return None
        rpc = one.take(most_bytes)
        if not one.queue:
            self._neighbours.due.pop(peer, None)
        return rpc

    def stalled(self) -> list[str]:
        """Neighbours that do not read: even votes no longer fit their queues. Nothing more is queued for them; the
        caller ends their connections and removes them."""
        return [one.name for one in self._neighbours.by_name.values() if one.queue.stalled]

    def offers(self) -> list[PeerInfo]:
        """Peers to dial that trusted neighbours named in PRUNEs, taken."""
        return self._exchange.take_offers()

    def score(self, peer: str) -> float:
        """A neighbour's score as of the last heartbeat or penalty; 0 for an unknown one."""
        one = self._neighbours.by_name.get(peer)
        return one.score if one is not None else 0.0

    def hurries(self, topic: str) -> bool:
        """Whether what comes on a topic is to be forwarded at once."""
        return topic in self._topics and self._topics[topic].priority is Priority.VOTES

    def mesh(self, topic: str) -> tuple[str, ...]:
        """The members of a topic's mesh; none where it is not joined."""
        return tuple(self._topics[topic].mesh) if topic in self._topics else ()

    @property
    def useless(self) -> int:
        """Messages that no honest peer sends, since the start: of topics that we are not on, copies that came late, and
        what was ignored a moment ago from the same peer."""
        return self._messages.useless

    def status(self) -> dict[str, Any]:
        """For `folkmoot status`: meshes, queues, what was shed, sizes of the caches."""
        neighbours = self._neighbours.by_name.values()
        return {
            "mesh": {name: len(topic.mesh) for name, topic in self._topics.items()},
            "messages": {name: topic.came for name, topic in self._topics.items()},
            "bytes": {name: topic.came_bytes for name, topic in self._topics.items()},
            "neighbours": len(neighbours),
            "graylisted": [one.name for one in neighbours if one.score < self._params.thresholds.graylist],
            "graylisted messages": self._graylisted,
            "shed": dict(zip([*(one.name.lower() for one in Priority), "ihave"], self._neighbours.shed, strict=True)),
            "queued bytes": sum(one.queue.bytes for one in neighbours),
            **self._messages.status(),
            "cache": len(self._cache), "cache bytes": self._cache.bytes,
            "backoffs": len(self._backoffs), "promises": len(self._promises), "fanout": len(self._fanout),
            "offers": len(self._exchange),
        }
