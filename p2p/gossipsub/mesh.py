"""Who is in the mesh of a topic: GRAFT, PRUNE, back-off, and upkeep at each heartbeat.

Law: a member has a score that is not negative, and nobody is grafted within a back-off, by either side.

The rules MESH-1 to MESH-11 are in docs/gossipsub.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor

from p2p.base.limits import MAX_PRUNE_BACKOFF_S
from p2p.gossipsub.backoffs import Backoffs
from p2p.gossipsub.exchange import Exchange
from p2p.gossipsub.lot import Lot
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.rpc import Graft, Prune
from p2p.gossipsub.topic import Topic


class Mesh:
    """Upkeep of all meshes."""

    __slots__ = ("_backoffs", "_exchange", "_neighbours", "_params", "_rng")

    def __init__(self, neighbours: Neighbours, backoffs: Backoffs, exchange: Exchange, rng: Lot) -> None:
        self._neighbours, self._backoffs, self._exchange, self._rng = neighbours, backoffs, exchange, rng
        self._params = neighbours.params

    # -- what we do

    def begin(self, topic: Topic, preferred: Iterable[Neighbour], now: float) -> None:
        """MESH-1: graft up to D peers of a topic that was joined just now. preferred: those of its fanout."""
        wanted = [one for one in preferred if one in self._candidates(topic, now)][: self._params.degree]
        for one in wanted:
            self._graft(topic, one, now)
        self._graft_some(topic, self._params.degree - len(topic.mesh), now)

    def end(self, topic: Topic, now: float) -> None:
        """MESH-2: prune the mesh of a topic that we leave, with the short back-off."""
        for one in list(topic.mesh.values()):
            self._prune(topic, one, now, exchange=False, backoff_s=self._params.unsubscribe_backoff_s)

    def upkeep(self, topic: Topic, now: float, tick: int) -> None:
        """A heartbeat of one topic."""
        p, mesh = self._params, topic.mesh
        for one in [one for one in mesh.values() if one.score < 0]:  # MESH-3
            self._prune(topic, one, now, exchange=False)
        if len(mesh) < p.degree_low:  # MESH-4
            self._graft_some(topic, p.degree - len(mesh), now)
        elif len(mesh) > p.degree_high:
            self._shrink(topic, now)
        lacking = p.degree_out - sum(one.dialled for one in mesh.values())
        if len(mesh) >= p.degree_low and lacking > 0:  # MESH-6
            dialled = [one for one in self._candidates(topic, now) if one.dialled]
            self._graft_all(topic, self._some(dialled, lacking), now)
        if tick % p.opportunistic_graft_ticks == 0 and len(mesh) > 1:
            self._graft_better(topic, now)

    # -- what others do

    def on_graft(self, one: Neighbour, topic: Topic, now: float) -> None:
        """MESH-7: a neighbour has put us into its mesh; where that will not do, it is pruned."""
        if one.name in topic.mesh:
            return
        p, until = self._params, self._backoffs.until(topic.name, one.name)
        if now < until:  # MESH-8
            soon = now < until - p.prune_backoff_s + p.graft_flood_s
            self._neighbours.penalise(one, 2 if soon else 1, now)
            self._refuse(topic, one, now, exchange=False)
        elif one.score < 0:
            self._refuse(topic, one, now, exchange=False)
        elif len(topic.mesh) < p.degree_high or one.dialled or (one.wanted and topic.lacks_wanted()):
            self._take_in(topic, one, now)
        elif self._needs(topic, one):
            self._make_room(topic, 1, now)
            self._take_in(topic, one, now)
        else:
            self._refuse(topic, one, now, exchange=True, backoff_s=min(p.refusal_backoff_s, p.prune_backoff_s))

    def on_prune(self, one: Neighbour, topic: Topic, prune: Prune, now: float) -> None:
        """MESH-9: a neighbour has taken us out of its mesh. Its back-off holds, ours where it names none."""
        backoff_s = min(prune.backoff_s, MAX_PRUNE_BACKOFF_S) if prune.backoff_s > 0 else self._params.prune_backoff_s
        self._backoffs.add(topic.name, one.name, now + backoff_s)
        if topic.remove(one):
            self._neighbours.scores.prune(one.name, topic.name, now)
        if prune.peers:
            self._exchange.take_in(one, prune)

    # -- parts

    def _shrink(self, topic: Topic, now: float) -> None:
        """MESH-5: keep up to D of the wanted, the best D_score, others by lot up to D, of these at least D_out that we
        dialled."""
        p = self._params
        members = list(topic.mesh.values())
        self._rng.shuffle(members)
        members.sort(key=lambda one: (not one.wanted, -one.score))
        sure = min(p.degree, sum(one.wanted for one in members)) + p.degree_score
        rest = members[sure:]
        self._rng.shuffle(rest)
        kept = members[:sure] + rest[: max(0, p.degree - sure)]
        lost = rest[max(0, p.degree - sure) :]
        lacking = p.degree_out - sum(one.dialled for one in kept)
        for one in [one for one in lost if one.dialled][: max(0, lacking)]:
            place = next((i for i in range(len(kept) - 1, -1, -1) if not (kept[i].dialled or kept[i].wanted)), None)
            if place is None:
                break
            lost.remove(one)
            lost.append(kept.pop(place))
            kept.append(one)
        for one in lost:
            self._prune(topic, one, now, exchange=True)

    def _graft_better(self, topic: Topic, now: float) -> None:
        """MESH-10: where the median is low, take in peers above it."""
        p, median = self._params, _median(topic)
        if median < p.thresholds.opportunistic_graft:
            better = [one for one in self._candidates(topic, now) if one.score > median]
            chosen = self._some(better, p.opportunistic_graft_peers)
            self._make_room(topic, len(chosen), now)
            self._graft_all(topic, chosen, now)

    def _needs(self, topic: Topic, one: Neighbour) -> bool:
        """MESH-7: whether a full mesh takes in a stranger: its median is below a threshold that this peer reaches."""
        return one.score >= self._params.thresholds.opportunistic_graft > _median(topic)

    def _make_room(self, topic: Topic, places: int, now: float) -> None:
        """MESH-11: so many can enter without a mesh above D_hi, which would be cut to D: the worst strangers leave."""
        surplus = len(topic.mesh) + places - self._params.degree_high
        strangers = [one for one in topic.mesh.values() if not (one.wanted or one.dialled)]
        self._rng.shuffle(strangers)
        strangers.sort(key=lambda one: floor(one.score))  # less than a point is chance, or time in the mesh
        for one in strangers[: max(0, surplus)]:
            self._prune(topic, one, now, exchange=True)

    def _candidates(self, topic: Topic, now: float) -> list[Neighbour]:
        """Neighbours that may be grafted."""
        return [
            one for one in self._neighbours.on(topic.name)
            if one.score >= 0 and one.name not in topic.mesh and self._backoffs.may_graft(topic.name, one.name, now)
        ]

    def _some(self, many: list[Neighbour], number: int) -> list[Neighbour]:
        return self._rng.sample(many, max(0, min(number, len(many))))

    def _graft_some(self, topic: Topic, number: int, now: float) -> None:
        if number > 0:
            self._graft_all(topic, self._some(self._candidates(topic, now), number), now)

    def _graft_all(self, topic: Topic, some: list[Neighbour], now: float) -> None:
        for one in some:
            self._graft(topic, one, now)

    def _graft(self, topic: Topic, one: Neighbour, now: float) -> None:
        self._take_in(topic, one, now)
        one.queue.control.mesh(Graft(topic.name))
        self._neighbours.wake(one)

    def _take_in(self, topic: Topic, one: Neighbour, now: float) -> None:
        """A new member: what came just before was not sent to it, and as a member it would not hear of it."""
        topic.add(one)
        one.behind = self._params.history_gossip
        self._neighbours.scores.graft(one.name, topic.name, now)

    def _prune(
        self, topic: Topic, one: Neighbour, now: float, *, exchange: bool, backoff_s: float | None = None,
    ) -> None:
        topic.remove(one)
        self._neighbours.scores.prune(one.name, topic.name, now)
        self._refuse(topic, one, now, exchange=exchange, backoff_s=backoff_s)

    def _refuse(
        self, topic: Topic, one: Neighbour, now: float, *, exchange: bool, backoff_s: float | None = None,
    ) -> None:
        """Send a PRUNE, and keep its back-off ourselves."""
        seconds = self._params.prune_backoff_s if backoff_s is None else backoff_s
        self._backoffs.add(topic.name, one.name, now + seconds)
        peers = self._exchange.name_peers(topic.name, one) if exchange else ()
        one.queue.control.mesh(Prune(topic.name, peers, ceil(seconds)))
        self._neighbours.wake(one)


def _median(topic: Topic) -> float:
    """The median score of a mesh that is not empty."""
    scores = sorted(member.score for member in topic.mesh.values())
    return scores[len(scores) // 2]
