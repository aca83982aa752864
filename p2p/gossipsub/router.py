"""A gossipsub router without I/O, clock or randomness of its own (libp2p specification, v1.1, and IDONTWANT of v1.2).

Law: the same calls give the same answers. `now` is in seconds and never goes back; `rng` is the caller's.

The rules and their labels are specified in docs/gossipsub.md. Most calls of a busy router are `receive` with copies of
messages that it has: they cost one hash and one look-up each.
"""

from __future__ import annotations

from collections.abc import Set
from hashlib import sha256
from random import Random
from typing import Any

from p2p.base.limits import (
    MAX_CONTROL_TOPICS,
    MAX_GOSSIP,
    MAX_JUDGING,
    MAX_SEEN_IDS,
    MAX_TOPIC_NAME,
    MAX_TOPICS_PER_PEER,
)
from p2p.base.outcome import Outcome
from p2p.gossipsub.backoffs import Backoffs
from p2p.gossipsub.exchange import Exchange
from p2p.gossipsub.fanout import Fanout
from p2p.gossipsub.gossip import Gossip
from p2p.gossipsub.mesh import Mesh
from p2p.gossipsub.message_cache import MessageCache
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.outbound import item_of
from p2p.gossipsub.params import Params, Priority
from p2p.gossipsub.promises import Promises
from p2p.gossipsub.rpc import ID_BYTES, Delivery, Message, PeerInfo, Rpc, Subscription, Version, message_id
from p2p.gossipsub.seen import Seen
from p2p.gossipsub.topic import Topic

__all__ = ["Delivery", "Router"]

_OURS = float("-inf")  # the time of our own messages: nobody's copy comes soon after it


class _Judging:
    """A delivered message that waits for its judgement."""

    __slots__ = ("message", "senders")

    def __init__(self, message: Message, sender: str) -> None:
        self.message = message
        self.senders = [sender]  # the first one first


class Router:
    """One peer's part in gossip: `receive` what a neighbour sent, `judge` what is new, `take` what is due to each."""

    __slots__ = (
        "_backoffs", "_cache", "_counts", "_exchange", "_fanout", "_gossip", "_judging", "_mesh", "_neighbours", "_now",
        "_params", "_promises", "_rejected", "_seen", "_tick", "_topics", "me",
    )

    def __init__(self, params: Params, rng: Random, *, me: str) -> None:
        """me: this peer's id."""
        self.me = me
        self._params = params
        self._neighbours = Neighbours(params)
        self._backoffs = Backoffs(params.backoff_slack * params.heartbeat_s)
        self._exchange = Exchange(self._neighbours, rng)
        self._mesh = Mesh(self._neighbours, self._backoffs, self._exchange, rng)
        self._cache, self._promises = MessageCache(params.history_length), Promises()
        self._gossip = Gossip(self._neighbours, self._cache, self._promises, rng)
        self._fanout = Fanout(self._neighbours, rng)
        self._seen = Seen(params.seen_ttl_s, MAX_SEEN_IDS)
        self._rejected = Seen(params.seen_ttl_s, MAX_SEEN_IDS // 8)  # apart: garbage drives nothing good out
        self._judging: dict[bytes, _Judging] = {}
        self._topics: dict[str, Topic] = {}  # that we are on
        self._counts = {"duplicates": 0, "delivered": 0, "of other topics": 0, "of graylisted peers": 0}
        self._tick, self._now = 0, 0.0

    # -- topics

    def join(self, topic: str, now: float) -> None:
        """Subscribe, and graft peers that are on the topic."""
        self._now = now
        if topic in self._topics:
            return
        joined = self._topics[topic] = Topic(topic, self._params)
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
            one.queue.subscribe(topic, subscribe)
            self._neighbours.wake(one)

    # -- neighbours

    def add_peer(self, peer: str, *, version: Version, outbound: bool, group: str, now: float) -> None:
        """A neighbour can be written to. outbound: we dialled it. group: its address group, "" for none. Adding a known
        neighbour again changes nothing but these."""
        self._now = now
        one = self._neighbours.add(peer, version=version, dialled=outbound, group=group, now=now)
        if one is not None and self._topics:
            for topic in self._topics:
                one.queue.subscribe(topic, True)
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
            self._counts["of graylisted peers"] += len(rpc.messages)
            return []
        if rpc.subscriptions:
            self._on_subscriptions(one, rpc.subscriptions[:MAX_TOPICS_PER_PEER], now)
        if rpc.idontwant:
            self._gossip.on_idontwant(one, rpc.idontwant)
        found = self._on_messages(one, rpc.messages, now) if rpc.messages else []
        if rpc.graft or rpc.prune:
            self._on_mesh(one, rpc, now)
        if rpc.ihave:
            self._gossip.on_ihave(one, rpc.ihave, self._topics, self._is_known, now)
        if rpc.iwant:
            self._gossip.on_iwant(one, rpc.iwant)
        return found

    def _on_messages(self, one: Neighbour, messages: tuple[Message, ...], now: float) -> list[Delivery]:
        found: list[Delivery] = []
        topics, when, duplicates = self._topics, self._seen.when, 0
        for message in messages:
            topic, data = topics.get(message.topic), message.data
            if topic is None:
                self._counts["of other topics"] += 1
                continue
            if len(data) > MAX_GOSSIP:
                self._neighbours.rejected(one.name, topic.name, now)
                continue
            id_ = sha256(topic.prefix + data).digest()[:ID_BYTES]
            at = when(id_)
            if at is None:
                if self._is_new(one, topic, id_, message, now):
                    found.append(Delivery(id_, topic.name, data, one.name))
                continue
            duplicates += 1
            if one.queue.messages:
                one.sent(id_)
            if now - at <= topic.window:
                self._neighbours.scores.duplicate(one.name, topic.name, id_, now)
        self._counts["duplicates"] += duplicates
        self._counts["delivered"] += len(found)
        return found

    def _is_new(self, one: Neighbour, topic: Topic, id_: bytes, message: Message, now: float) -> bool:
        """Whether a message that was not accepted yet is to be judged now."""
        self._promises.kept(id_)
        if (judging := self._judging.get(id_)) is not None:
            if one.name not in judging.senders:
                judging.senders.append(one.name)
            return False
        if self._rejected.when(id_) is not None:
            self._neighbours.rejected(one.name, topic.name, now)
            return False
        if one.ignored.get(id_, now) > now:
            return False
        if len(self._judging) >= MAX_JUDGING:  # the caller judges at once, so this is its fault: as if ignored
            del self._judging[next(iter(self._judging))]
        self._judging[id_] = _Judging(message, one.name)
        if len(message.data) >= self._params.idontwant_threshold:
            self._gossip.say_dont_want(topic, id_, one)
        return True

    def judge(self, id: bytes, outcome: Outcome, now: float) -> None:
        """The fate of a delivered message. ACCEPT: forwarded. IGNORE: forgotten. REJECT: all who sent it lose."""
        self._now = now
        judging = self._judging.pop(id, None)
        if judging is None:
            return
        if outcome is Outcome.ACCEPT:
            self._accept(id, judging, now)
        elif outcome is Outcome.REJECT:
            self._rejected.add(id, now)
            for sender in judging.senders:
                self._neighbours.rejected(sender, judging.message.topic, now)
        else:
            for sender in judging.senders:
                if (one := self._neighbours.by_name.get(sender)) is not None:
                    one.ignore(id, now)

    def _accept(self, id_: bytes, judging: _Judging, now: float) -> None:
        message, senders = judging.message, judging.senders
        self._seen.add(id_, now)
        scores = self._neighbours.scores
        scores.first_delivery(senders[0], message.topic, id_, now)
        topic = self._topics.get(message.topic)
        if topic is None:
            return
        if topic.window >= 0:
            for sender in senders[1:]:
                scores.duplicate(sender, topic.name, id_, now)
        item, priority, due = item_of(id_, message), topic.priority, self._neighbours.due
        self._cache.put(item)
        for one in topic.forward_to(self._neighbours):
            if one.name not in senders:
                one.queue.push(priority, item)
                due[one.name] = None

    def publish(self, topic: str, data: bytes, now: float) -> bytes:
        """Send a message of our own. Returns its id. What was published before is sent again."""
        self._now = now
        id_ = message_id(topic, data)
        item = item_of(id_, Message(topic, data))
        self._promises.kept(id_)
        self._judging.pop(id_, None)
        if self._seen.when(id_) is None:
            self._seen.add(id_, _OURS)
        self._cache.put(item)
        priority = self._params.priorities.get(topic, Priority.TRANSACTIONS)
        for one in self._publish_to(topic, now):
            self._neighbours.send(one, priority, item)
        return id_

    def _publish_to(self, topic: str, now: float) -> list[Neighbour]:
        """PUBLISH-1: with flood publishing every neighbour on the topic above the publish threshold, and the wanted."""
        joined = self._topics.get(topic)
        if self._params.flood_publish:
            least = self._params.thresholds.publish
            return [one for one in self._neighbours.on(topic) if one.score >= least or one.wanted]
        return joined.forward_to(self._neighbours) if joined is not None else self._fanout.to(topic, now)

    def _is_known(self, id_: bytes) -> bool:
        """Whether a message needs not be asked for."""
        return id_ in self._judging or self._seen.when(id_) is not None or self._rejected.when(id_) is not None

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
        self._seen.turn(now)
        self._rejected.turn(now)
        self._neighbours.turn(now)

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

    def mesh(self, topic: str) -> tuple[str, ...]:
        """The members of a topic's mesh; none where it is not joined."""
        return tuple(self._topics[topic].mesh) if topic in self._topics else ()

    def status(self) -> dict[str, Any]:
        """For `folkmoot status`: meshes, queues, what was shed, sizes of the caches."""
        neighbours = self._neighbours.by_name.values()
        return {
            "mesh": {name: len(topic.mesh) for name, topic in self._topics.items()},
            "neighbours": len(neighbours),
            "graylisted": [one.name for one in neighbours if one.score < self._params.thresholds.graylist],
            "messages": dict(self._counts),
            "shed": dict(zip([*(one.name.lower() for one in Priority), "ihave"], self._neighbours.shed, strict=True)),
            "queued bytes": sum(one.queue.bytes for one in neighbours),
            "seen": len(self._seen), "rejected": len(self._rejected), "judging": len(self._judging),
            "cache": len(self._cache), "cache bytes": self._cache.bytes,
            "backoffs": len(self._backoffs), "promises": len(self._promises), "fanout": len(self._fanout),
            "offers": len(self._exchange),
        }
