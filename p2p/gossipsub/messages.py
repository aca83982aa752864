"""What becomes of a message: delivered once, judged, forwarded.

Law: nothing is forwarded that was not accepted, and nothing is delivered again that was accepted or rejected lately.

The rules MSG-1 to MSG-7 and PUBLISH-1 to PUBLISH-3 are in docs/gossipsub.md. Most of a busy router's work is `take_in`
of copies that it has: one hash and one look-up each.
"""

from __future__ import annotations

from hashlib import sha256

from p2p.base.limits import LATE_COPY_S, MAX_GOSSIP, MAX_JUDGING, MAX_SEEN_IDS
from p2p.base.outcome import Outcome
from p2p.gossipsub.fanout import Fanout
from p2p.gossipsub.gossip import Gossip
from p2p.gossipsub.message_cache import MessageCache
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.outbound import item_of
from p2p.gossipsub.params import Priority
from p2p.gossipsub.rpc import ID_BYTES, Delivery, Message, message_id
from p2p.gossipsub.seen import Seen
from p2p.gossipsub.topic import Topic

_OURS = float("-inf")  # the time of our own messages: nobody's copy comes soon after it


class _Judging:
    """A delivered message that waits for its judgement."""

    __slots__ = ("message", "senders")

    def __init__(self, message: Message, sender: str) -> None:
        self.message = message
        self.senders = [sender]  # the first one first


class Messages:
    """Messages from their first copy on."""

    __slots__ = (
        "_cache", "_fanout", "_gossip", "_judging", "_neighbours", "_rejected", "_seen", "_topics", "delivered",
        "duplicates", "foreign", "useless",
    )

    def __init__(
        self, topics: dict[str, Topic], neighbours: Neighbours, cache: MessageCache, gossip: Gossip, fanout: Fanout,
    ) -> None:
        """topics: those that we are on, a live view."""
        self._topics, self._neighbours, self._cache = topics, neighbours, cache
        self._gossip, self._fanout = gossip, fanout
        self._seen = Seen(neighbours.params.seen_ttl_s, MAX_SEEN_IDS)
        self._rejected = Seen(neighbours.params.seen_ttl_s, MAX_SEEN_IDS // 8)  # apart: garbage drives nothing out
        self._judging: dict[bytes, _Judging] = {}
        self.delivered = self.duplicates = self.foreign = 0  # foreign: of topics that we are not on
        self.useless = 0  # messages that no honest peer sends: foreign, repeated late, ignored a moment ago

    # -- from others

    def take_in(self, one: Neighbour, messages: tuple[Message, ...], now: float) -> list[Delivery]:
        """What is new of a neighbour's messages."""
        found: list[Delivery] = []
        topics, when = self._topics, self._seen.when
        for message in messages:
            topic, data = topics.get(message.topic), message.data
            if topic is None:
                self.foreign += 1
                self.useless += 1
                continue
            topic.came_bytes += len(data)
            topic.came += 1
            if len(data) > MAX_GOSSIP:
                self._neighbours.rejected(one.name, topic.name, now)
                continue
            id_ = sha256(topic.prefix + data).digest()[:ID_BYTES]
            at = when(id_)
            if at is None:
                if self._is_new(one, topic, id_, message, now):
                    found.append(Delivery(id_, topic.name, data, one.name))
                continue
            self.duplicates += 1
            self.useless += _OURS < at < now - LATE_COPY_S
            if one.queue.messages:
                one.sent(id_)
            if now - at <= topic.window:
                self._neighbours.scores.duplicate(one.name, topic.name, id_, now)
        self.delivered += len(found)
        return found

    def _is_new(self, one: Neighbour, topic: Topic, id_: bytes, message: Message, now: float) -> bool:
        """Whether a message that was not accepted yet is to be judged now."""
        self._gossip.came(id_)
        if (judging := self._judging.get(id_)) is not None:
            if one.name not in judging.senders:
                judging.senders.append(one.name)
            return False
        if self._rejected.when(id_) is not None:
            self._neighbours.rejected(one.name, topic.name, now)
            return False
        if one.ignored and one.ignored.get(id_, now) > now:
            self.useless += 1
            return False
        if len(self._judging) >= MAX_JUDGING:  # the caller judges at once, so this is its fault: as if ignored
            del self._judging[next(iter(self._judging))]
        self._judging[id_] = _Judging(message, one.name)
        if len(message.data) >= self._neighbours.params.idontwant_threshold:
            self._gossip.say_dont_want(topic, id_, one)
        return True

    def judge(self, id_: bytes, outcome: Outcome, now: float) -> None:
        """The fate of a delivered message (router.judge)."""
        judging = self._judging.pop(id_, None)
        if judging is None:
            return
        if outcome is Outcome.ACCEPT:
            self._accept(id_, judging, now)
        elif outcome is Outcome.REJECT:
            self._rejected.add(id_, now)
            for sender in judging.senders:
                self._neighbours.rejected(sender, judging.message.topic, now)
        else:
            for sender in judging.senders:
                if (one := self._neighbours.by_name.get(sender)) is not None:
                    one.ignore(id_, now)

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

    def is_known(self, id_: bytes) -> bool:
        """Whether a message needs not be asked for."""
        return id_ in self._judging or self._seen.when(id_) is not None or self._rejected.when(id_) is not None

    # -- our own

    def publish(self, topic: str, data: bytes, now: float) -> bytes:
        """Send a message of our own (router.publish)."""
        id_ = message_id(topic, data)
        item = item_of(id_, Message(topic, data))
        self._gossip.came(id_)
        self._judging.pop(id_, None)
        if self._seen.when(id_) is None:
            self._seen.add(id_, _OURS)
        self._cache.put(item)
        priority = self._neighbours.params.priorities.get(topic, Priority.TRANSACTIONS)
        for one in self._publish_to(topic, now):
            self._neighbours.send(one, priority, item)
        return id_

    def _publish_to(self, topic: str, now: float) -> list[Neighbour]:
        """PUBLISH-1, PUBLISH-2: the topic's neighbours above the publish threshold and the wanted; without flood
        publishing the mesh and the wanted, or the fanout."""
        params, joined = self._neighbours.params, self._topics.get(topic)
        if params.flood_publish:
            least = params.thresholds.publish
            return [one for one in self._neighbours.on(topic) if one.score >= least or one.wanted]
        return joined.forward_to(self._neighbours) if joined is not None else self._fanout.to(topic, now)

    # -- time, and figures

    def turn(self, now: float) -> None:
        """A heartbeat has passed."""
        self._seen.turn(now)
        self._rejected.turn(now)

    def status(self) -> dict[str, int]:
        """Figures for `status`."""
        return {
            "delivered": self.delivered, "duplicates": self.duplicates, "of other topics": self.foreign,
            "judging": len(self._judging), "seen": len(self._seen), "rejected": len(self._rejected),
        }
