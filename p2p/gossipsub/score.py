"""The peer score of gossipsub v1.1: what each neighbour is worth to us, as one number.

Law: a score follows from what this peer saw itself; it is forgotten only when it has faded or after its time, never
because the neighbour leaves.

Pure: the caller passes the time. Source: libp2p specification, gossipsub v1.1, 'Peer Scoring'. SCORE-1 to SCORE-4 are
in topic_score.py, SCORE-6 in groups.py, SCORE-11 in deliveries.py.

- SCORE-5: P5 is the number that the application gives.
- SCORE-7: P7 is the square of what the behaviour penalty exceeds its threshold by.
- SCORE-8: the score is the sum over scored topics, each by its weight, up to the topic score cap, plus P5, P6 and P7 by
  their weights. A topic without parameters counts for nothing, and an unknown peer has 0.
- SCORE-9: each decay interval multiplies every counter by its factor; one that falls below decay_to_zero becomes zero.
- SCORE-10: who disconnects with a negative score finds it again within retain_score seconds, not faded, its first
  deliveries lost. Other scores are forgotten. Where too many are retained, the least bad is forgotten first.
- SCORE-12: an answer is remembered until something changes it; asking changes nothing.
"""

from __future__ import annotations

from p2p.base.limits import MAX_RETAINED_SCORES
from p2p.gossipsub.deliveries import Deliveries
from p2p.gossipsub.groups import Groups
from p2p.gossipsub.params import ScoreParams
from p2p.gossipsub.topic_score import Expected, TopicScore, faded


class _Peer:
    """One neighbour, connected or retained."""

    __slots__ = ("app", "behaviour", "cached", "expires", "group", "topics")

    def __init__(self, group: str) -> None:
        self.group = group
        self.topics: dict[str, TopicScore] = {}
        self.app = 0.0  # P5
        self.behaviour = 0.0  # P7's counter
        self.expires: float | None = None  # when a retained score is forgotten; None while connected
        self.cached: float | None = None  # the score, until something changes it


class PeerScore:
    """The scores of all neighbours. All times are seconds of one clock that does not run backwards."""

    __slots__ = ("_decayed", "_deliveries", "_expected", "_groups", "_meshes", "_params", "_peers", "_retained")

    def __init__(self, params: ScoreParams) -> None:
        self._params = params
        self._peers: dict[str, _Peer] = {}
        self._retained: dict[str, _Peer] = {}  # those of _peers that are not connected
        self._groups = Groups(params.ip_colocation_factor_threshold, params.ip_colocation_factor_whitelist)
        self._expected = {topic: Expected(scored) for topic, scored in params.topics.items()}
        self._meshes = {  # topics whose mesh deliveries count for something (P3, P3b) -> their windows
            topic: scored.mesh_message_deliveries_window for topic, scored in params.topics.items()
            if scored.mesh_message_deliveries_weight or scored.mesh_failure_penalty_weight
        }
        self._deliveries = Deliveries(max(self._meshes.values(), default=0.0))
        self._decayed: float | None = None  # up to when the counters have faded

    def add_peer(self, peer: str, group: str, now: float) -> None:
        """A neighbour is connected, from address group `group`. What is retained of it within its time is in force."""
        known = self._peers.get(peer)
        if known is not None and known.expires is not None and known.expires <= now:
            self._forget(peer)
            known = None
        if known is None:
            known = self._peers[peer] = _Peer(group)
        else:
            self._leave_group(peer, known.group)
            known.group = group
        self._retained.pop(peer, None)
        known.expires = None
        self._groups.enter(peer, group)
        self._changed_group(group)

    def remove_peer(self, peer: str, now: float) -> None:
        """The neighbour's connection ended."""
        known = self._peers.get(peer)
        if known is None or known.expires is not None:
            return
        if self.score(peer, now) >= 0:
            self._forget(peer)
            return
        for counters in known.topics.values():
            counters.disconnect()
        known.cached = None
        known.expires = now + self._params.retain_score
        self._retained[peer] = known
        if len(self._retained) > MAX_RETAINED_SCORES:
            self._forget(max(self._retained, key=lambda other: self.score(other, now)))

    def graft(self, peer: str, topic: str, now: float) -> None:
        """The neighbour enters our mesh of `topic`."""
        if (counters := self._touch(peer, topic)) is not None:
            counters.graft(now)

    def prune(self, peer: str, topic: str, now: float) -> None:
        """The neighbour leaves our mesh of `topic`, whoever wants it so."""
        if (counters := self._touch(peer, topic)) is not None:
            counters.prune()

    def first_delivery(self, peer: str, topic: str, id: bytes, now: float) -> None:
        """The message is accepted; `peer` brought it first."""
        if (counters := self._touch(peer, topic)) is not None:
            counters.first()
        if topic in self._meshes:
            self._expected[topic].accepted()
            self._deliveries.first(id, peer, now)

    def duplicate(self, peer: str, topic: str, id: bytes, now: float) -> None:
        """`peer` brought a message that is accepted, before or after that."""
        late_s = self._deliveries.copy(id, peer, now)
        if late_s is not None and (counters := self._touch(peer, topic)) is not None:
            counters.copy(late_s)

    def rejected(self, peer: str, topic: str) -> None:
        """`peer` brought an invalid message."""
        if (counters := self._touch(peer, topic)) is not None:
            counters.invalid()

    def behaviour(self, peer: str, amount: float) -> None:
        """The neighbour broke a rule of the protocol `amount` times (P7)."""
        if (known := self._peers.get(peer)) is not None:
            known.behaviour += amount
            known.cached = None

    def app_score(self, peer: str, points: float) -> None:
        """The application's own number for this neighbour (P5), in place of its last one."""
        if (known := self._peers.get(peer)) is not None and known.app != points:
            known.app = points
            known.cached = None

    def decay(self, now: float) -> None:
        """Fade every counter by the whole decay intervals since the last call, and drop what has expired."""
        self._deliveries.expire(now)
        for peer in [peer for peer, known in self._retained.items() if (known.expires or 0.0) <= now]:
            self._forget(peer)
        interval = self._params.decay_interval
        if self._decayed is None:
            self._decayed = now - interval  # the first call fades once
        intervals = int((now - self._decayed) / interval + 1e-6)  # a caller's seconds are not exact
        if intervals < 1:
            return
        self._decayed += intervals * interval
        for expected in self._expected.values():
            expected.decay(intervals, self._params.decay_to_zero)
        for known in self._peers.values():
            if known.expires is None:
                for counters in known.topics.values():
                    if counters.decay(intervals, self._params.decay_to_zero, now):
                        known.cached = None
                if known.behaviour:
                    decay = self._params.behaviour_penalty_decay
                    known.behaviour = faded(known.behaviour, decay, intervals, self._params.decay_to_zero)
                    known.cached = None

    def score(self, peer: str, now: float) -> float:
        """The score of `peer`: 0 for one that is not known."""
        known = self._peers.get(peer)
        if known is None or (known.expires is not None and known.expires <= now):
            return 0.0
        if known.cached is None:
            known.cached = self._compute(known)
        return known.cached

    def _compute(self, known: _Peer) -> float:
        params = self._params
        total = sum(params.topics[topic].topic_weight * counters.value() for topic, counters in known.topics.items())
        if params.topic_score_cap > 0:
            total = min(total, params.topic_score_cap)
        total += params.app_specific_weight * known.app
        total += params.ip_colocation_factor_weight * self._groups.surplus(known.group) ** 2
        excess = max(0.0, known.behaviour - params.behaviour_penalty_threshold)
        return total + params.behaviour_penalty_weight * excess**2

    def _touch(self, peer: str, topic: str) -> TopicScore | None:
        """The counters that are about to change; None for an unknown peer and for a topic that is not scored."""
        known = self._peers.get(peer)
        params = self._params.topics.get(topic)
        if known is None or params is None:
            return None
        known.cached = None
        counters = known.topics.get(topic)
        if counters is None:
            counters = known.topics[topic] = TopicScore(params, self._expected[topic])
        return counters

    def _forget(self, peer: str) -> None:
        known = self._peers.pop(peer)
        self._retained.pop(peer, None)
        self._leave_group(peer, known.group)

    def _leave_group(self, peer: str, group: str) -> None:
        self._groups.leave(peer, group)
        self._changed_group(group)

    def _changed_group(self, group: str) -> None:
        for member in self._groups.members(group):
            self._peers[member].cached = None
