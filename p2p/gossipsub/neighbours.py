"""All connected peers, their scores, and which of them something waits for.

Law: a penalty is in a neighbour's `score` at once, everything else from the next heartbeat on, so that what is asked
for each RPC is a number that lies there.
"""

from __future__ import annotations

from p2p.base.limits import MAX_WANTED_NAMES, QUEUED_TOTAL
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.outbound import IHAVES, Item, Outbound
from p2p.gossipsub.params import Params
from p2p.gossipsub.rpc import Version
from p2p.gossipsub.score import PeerScore


class Neighbours:
    """The table of neighbours, in the order in which they came."""

    __slots__ = ("_wanted", "by_name", "due", "params", "scores", "shed")

    def __init__(self, params: Params) -> None:
        self.params = params
        self.by_name: dict[str, Neighbour] = {}
        self.due: dict[str, None] = {}  # neighbours that something waits for
        self.shed = [0] * (IHAVES + 1)  # messages shed by class, then IHAVES
        self.scores = PeerScore(params.score)
        self._wanted: dict[str, None] = {}

    def add(self, name: str, *, version: Version, dialled: bool, group: str, now: float) -> Neighbour | None:
        """A new neighbour. None: it was known, and only its properties changed."""
        self.scores.add_peer(name, group, now)
        known = self.by_name.get(name)
        if known is not None:
            known.version, known.dialled, known.group = version, dialled, group
            known.behind = self.params.history_gossip  # what was on its way may be lost
            return None
        one = Neighbour(name, version=version, dialled=dialled, group=group, queue=Outbound(self.shed))
        one.wanted = name in self._wanted
        one.behind = self.params.history_gossip  # it missed what came before it
        one.score = self.scores.score(name, now)
        self.by_name[name] = one
        return one

    def remove(self, name: str, now: float) -> Neighbour | None:
        """A neighbour that is gone."""
        one = self.by_name.pop(name, None)
        if one is not None:
            self.due.pop(name, None)
            self.scores.remove_peer(name, now)
        return one

    def want(self, name: str, wanted: bool) -> None:
        """Whether a peer is wanted, connected or not. At most MAX_WANTED_NAMES are."""
        self._wanted.pop(name, None)
        if wanted and len(self._wanted) < MAX_WANTED_NAMES:
            self._wanted[name] = None
        if name in self.by_name:
            self.by_name[name].wanted = name in self._wanted

    def on(self, topic: str) -> list[Neighbour]:
        """Neighbours that have subscribed to a topic."""
        return [one for one in self.by_name.values() if topic in one.topics]

    def send(self, one: Neighbour, priority: int, item: Item) -> None:
        """A message waits for a neighbour."""
        one.queue.push(priority, item)
        self.due[one.name] = None

    def wake(self, one: Neighbour) -> None:
        """Something else than a message waits for it."""
        self.due[one.name] = None

    def penalise(self, one: Neighbour, times: float, now: float) -> None:
        """It broke the protocol so many times (P7)."""
        self.scores.behaviour(one.name, times)
        one.score = self.scores.score(one.name, now)

    def rejected(self, name: str, topic: str, now: float) -> None:
        """It sent an invalid message (P4). It may be gone already."""
        self.scores.rejected(name, topic)
        if name in self.by_name:
            self.by_name[name].score = self.scores.score(name, now)

    def rescore(self, now: float) -> None:
        """Let scores decay, and bring every neighbour's up to date."""
        self.scores.decay(now)
        for one in self.by_name.values():
            one.score = self.scores.score(one.name, now)

    def turn(self, now: float) -> None:
        """A heartbeat has passed: begin to count anew, and bound what waits for all neighbours together."""
        waiting = 0
        for one in self.by_name.values():
            one.turn(now, self.params.history_gossip)
            waiting += one.queue.bytes
        if waiting > QUEUED_TOTAL:
            for one in sorted(self.by_name.values(), key=lambda one: -one.queue.bytes):
                waiting -= one.queue.bytes
                one.queue.shed(one.queue.bytes // 2, one.queue.messages)
                waiting += one.queue.bytes
                if waiting <= QUEUED_TOTAL:
                    break
