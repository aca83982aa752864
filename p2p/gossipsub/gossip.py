"""Gossip about messages: IHAVE, IWANT and IDONTWANT.

Law: whoever is asked, or told, does bounded work for each neighbour between two heartbeats.

The rules GOSSIP-1 to GOSSIP-9 are in docs/gossipsub.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from p2p.base.limits import BUDGETS, MAX_CONTROL_TOPICS, MAX_MESSAGE_IDS
from p2p.gossipsub.asked import Asked
from p2p.gossipsub.lot import Lot
from p2p.gossipsub.message_cache import MessageCache
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.params import Priority
from p2p.gossipsub.promises import Promises
from p2p.gossipsub.rpc import ID_BYTES, IDontWant, IHave, IWant, Version
from p2p.gossipsub.topic import Topic

_ASK_AGAIN = 2  # neighbours asked again for one message at a heartbeat
_BUDGET = BUDGETS["wanted bytes"]


class Gossip:
    """What is offered, asked for, and answered."""

    __slots__ = ("_answered_all", "_answered_group", "_asked", "_cache", "_neighbours", "_promises", "_rng")

    def __init__(self, neighbours: Neighbours, cache: MessageCache, promises: Promises, rng: Lot) -> None:
        self._neighbours, self._cache, self._promises, self._rng = neighbours, cache, promises, rng
        self._asked = Asked(neighbours.params.history_length)
        self._answered_all = 0  # bytes of answers since the last heartbeat
        self._answered_group: dict[str, int] = {}  # of these, to one address group

    # -- heartbeat

    def emit(self, topics: Iterable[Topic]) -> None:
        """GOSSIP-1: tell peers outside the mesh which messages came lately. GOSSIP-2: and those in it that missed some.
        """
        params = self._neighbours.params
        recent = self._cache.recent(params.history_gossip)
        for topic in topics:
            ids = recent.get(topic.name)
            if ids is None:
                continue
            receivers = {one.name for one in topic.forward_to(self._neighbours)}
            on_topic = [one for one in self._neighbours.on(topic.name) if one.score >= params.thresholds.gossip]
            others = [one for one in on_topic if one.name not in receivers]
            chosen = self._listeners(others)
            missed = [one for one in on_topic if one.behind and one not in chosen]
            whole = IHave(topic.name, tuple(ids)) if len(ids) <= MAX_MESSAGE_IDS else None
            for one in chosen + missed:
                one.queue.control.have(whole or IHave(topic.name, tuple(self._rng.sample(ids, MAX_MESSAGE_IDS))))
                self._neighbours.wake(one)

    def _listeners(self, others: list[Neighbour]) -> list[Neighbour]:
        """GOSSIP-1: whom we tell, of those outside the mesh."""
        params = self._neighbours.params
        number = min(len(others), max(params.degree_lazy, int(params.gossip_factor * len(others))))
        if number == len(others):
            return others
        dialled = [one for one in others if one.dialled]
        sure = self._rng.sample(dialled, min(len(dialled), params.degree_lazy // 2))
        names = {one.name for one in sure}
        rest = [one for one in others if one.name not in names]
        return sure + self._rng.sample(rest, number - len(sure))

    def turn(self, now: float) -> None:
        """GOSSIP-3: who did not bring what it offered is penalised. Begin to count anew."""
        self._answered_all = 0
        self._answered_group.clear()
        for name, times in self._promises.broken(now).items():
            one = self._neighbours.by_name.get(name)
            if one is not None:
                self._neighbours.penalise(one, times, now)

    def ask_again(self, now: float) -> None:
        """GOSSIP-9: what was asked for half a heartbeat ago or longer and has not come."""
        params = self._neighbours.params
        for id_, offerers in self._asked.overdue(now - params.heartbeat_s / 2):
            for name in self._rng.sample(offerers, min(_ASK_AGAIN, len(offerers))):
                one = self._neighbours.by_name.get(name)
                if one is None or one.score < params.thresholds.gossip or one.asked_ids >= params.max_ihave_length:
                    continue
                one.asked_ids += len(one.queue.control.want([id_]))
                self._neighbours.wake(one)

    def came(self, id_: bytes) -> None:
        """A message has come, from whomever: it is no longer waited for."""
        self._promises.kept(id_)
        self._asked.came(id_)

    # -- what others send

    def on_ihave(
        self, one: Neighbour, offers: tuple[IHave, ...], topics: dict[str, Topic], is_known: Callable[[bytes], bool],
        now: float,
    ) -> None:
        """GOSSIP-4: ask for what is new, of a neighbour above the gossip threshold, within its caps."""
        params = self._neighbours.params
        one.offers += 1
        room = params.max_ihave_length - one.asked_ids
        if one.score < params.thresholds.gossip or one.offers > params.max_ihave_messages or room <= 0:
            return
        new: dict[bytes, None] = {}
        left = MAX_MESSAGE_IDS
        for offer in offers[:MAX_CONTROL_TOPICS]:
            ids = offer.ids[:left]
            left -= len(ids)
            if offer.topic in topics:
                new.update((id_, None) for id_ in ids if len(id_) == ID_BYTES and not is_known(id_))
        asked = one.queue.control.want([id_ for id_ in new if id_ not in one.ignored][:room])
        if asked:
            one.asked_ids += len(asked)
            self._neighbours.wake(one)
            for id_ in asked:
                self._asked.ask(id_, one.name, now)
            self._promises.make(one.name, self._rng.choice(asked), now + params.iwant_followup_s)

    def on_iwant(self, one: Neighbour, wants: tuple[IWant, ...]) -> None:
        """GOSSIP-5: answer from the cache, each message so often to one neighbour, within the budgets."""
        params = self._neighbours.params
        if one.score < params.thresholds.gossip:
            return
        ids = list(dict.fromkeys(id_ for want in wants[:MAX_CONTROL_TOPICS] for id_ in want.ids[:MAX_MESSAGE_IDS]))
        room = min(MAX_MESSAGE_IDS, params.max_ihave_length - one.wanted_ids)
        one.wanted_ids += len(ids)
        for id_ in ids[: max(0, room)]:
            item = self._cache.get(id_)
            if item is None or not self._cache.may_send(id_, one.name, params.iwant_repeats):
                continue
            if not self._affords(one, item[2]):
                return
            self._neighbours.send(one, params.priorities.get(item[1].topic, Priority.TRANSACTIONS), item)

    def _affords(self, one: Neighbour, size: int) -> bool:
        """Whether the budgets of bytes between two heartbeats allow one more answer. A wanted peer has only its own."""
        of_group = self._answered_group.get(one.group, 0) if one.group else 0
        if one.answered_bytes + size > _BUDGET.peer:
            return False
        if not one.wanted and (of_group + size > _BUDGET.group or self._answered_all + size > _BUDGET.total):
            return False
        one.answered_bytes += size
        self._answered_all += size
        if one.group:
            self._answered_group[one.group] = of_group + size
        return True

    def on_idontwant(self, one: Neighbour, messages: tuple[IDontWant, ...]) -> None:
        """GOSSIP-6: what a neighbour has is not sent to it, for some heartbeats."""
        params = self._neighbours.params
        for message in messages[:MAX_CONTROL_TOPICS]:
            ids = message.ids[: max(0, params.max_idontwant_messages - one.dont_wants)]
            one.dont_wants += len(ids)
            one.dont_want.update((id_, params.idontwant_ttl) for id_ in ids if len(id_) == ID_BYTES)

    # -- what we say at once

    def say_dont_want(self, topic: Topic, id_: bytes, sender: Neighbour) -> None:
        """GOSSIP-7: a large message has come, so the rest of the mesh need not send it."""
        for one in topic.mesh.values():
            if one is not sender and one.version >= Version.V1_2:
                one.queue.control.dont_want(id_)
                self._neighbours.wake(one)
