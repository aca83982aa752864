"""What waits to be sent to one neighbour.

Law: a queue is bounded in bytes and messages; the oldest of the least important class goes first, and votes and control
never do.

- QUEUE-1: messages leave by class, and within a class in the order in which they came.
- QUEUE-2: above a bound, gossip about messages (IHAVE) goes first, then the oldest message of the least important
  class, and each is counted.
- QUEUE-3: when votes alone are above a bound, the neighbour is stalled: it gets nothing more, and its connection is to
  end.
- QUEUE-4: of subscriptions, GRAFTs and PRUNEs only the last for a topic waits, of IHAVEs too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from itertools import chain, islice
from typing import Final

from p2p.base.limits import (
    MAX_CONTROL_TOPICS,
    MAX_MESSAGE_IDS,
    MAX_RPC_MESSAGES,
    MAX_RPC_PRUNES,
    QUEUE_BYTES,
    QUEUE_MESSAGES,
)
from p2p.gossipsub.params import Priority
from p2p.gossipsub.rpc import ID_BYTES, Graft, IDontWant, IHave, IWant, Message, Prune, Rpc, Subscription

Item = tuple[bytes, Message, int]  # id, message, its bytes in an RPC: one object shared by all queues and the cache
IHAVES: Final = len(Priority)  # the index of shed IHAVEs, behind those of the classes

_FRAMING: Final = 12  # bytes around a message's two fields, at most
_ID_SIZE: Final = ID_BYTES + 2
_AHEAD: Final = 8192  # bytes of messages before which an IDONTWANT leaves in an RPC of its own: it would come too late
_CONTROL_SIZE: Final = 96  # bytes of a GRAFT, a PRUNE without peers or a subscription: about a topic's name


def item_of(id_: bytes, message: Message) -> Item:
    """A message as it waits."""
    return id_, message, len(message.data) + len(message.topic) + _FRAMING


class Outbound:
    """The queue of one neighbour."""

    __slots__ = (
        "_classes", "_dont_want", "_grafts", "_have", "_shed", "_subscriptions", "_want", "bytes", "lost",
        "messages", "stalled",
    )

    def __init__(self, shed: list[int]) -> None:
        """shed: counts what is shed, by class and then IHAVES; shared by all queues of a router."""
        self._classes: tuple[deque[Item], ...] = tuple(deque() for _ in Priority)
        self._subscriptions: dict[str, bool] = {}
        self._grafts: dict[str, Graft | Prune] = {}
        self._have: dict[str, IHave] = {}
        self._want: dict[bytes, None] = {}
        self._dont_want: deque[bytes] = deque(maxlen=MAX_MESSAGE_IDS)
        self._shed = shed
        self.bytes = 0  # of messages
        self.messages = 0
        self.lost = False  # something was shed since this was last set to False
        self.stalled = False

    def __bool__(self) -> bool:
        return not self.stalled and bool(
            self.messages or self._subscriptions or self._grafts or self._have or self._want or self._dont_want
        )

    # -- in

    def push(self, priority: int, item: Item) -> None:
        """A message waits. Nothing happens where the neighbour is stalled."""
        if self.stalled:
            return
        self._classes[priority].append(item)
        self.messages += 1
        self.bytes += item[2]
        if self.bytes > QUEUE_BYTES or self.messages > QUEUE_MESSAGES:
            self.shed(QUEUE_BYTES, QUEUE_MESSAGES)

    def subscribe(self, topic: str, subscribe: bool) -> None:
        """A subscription waits, or its end."""
        self._subscriptions[topic] = subscribe

    def control(self, message: Graft | Prune) -> None:
        """A GRAFT or PRUNE waits, instead of an earlier one for its topic."""
        self._grafts[message.topic] = message

    def have(self, message: IHave) -> None:
        """An IHAVE waits, instead of an earlier one for its topic."""
        self._have[message.topic] = message

    def want(self, ids: list[bytes]) -> list[bytes]:
        """Messages are asked for; at most MAX_MESSAGE_IDS wait. Returns those that wait now and did not before."""
        taken = [id_ for id_ in ids if id_ not in self._want][: MAX_MESSAGE_IDS - len(self._want)]
        self._want.update(dict.fromkeys(taken))
        return taken

    def dont_want(self, id_: bytes) -> None:
        """An IDONTWANT waits; the oldest of too many is dropped."""
        self._dont_want.append(id_)

    def shed(self, most_bytes: int, most_messages: int) -> None:
        """Bring the queue within these bounds (QUEUE-2, QUEUE-3)."""
        self.lost = True
        if self._have:
            self._shed[IHAVES] += len(self._have)
            self._have.clear()
        for priority in range(len(self._classes) - 1, Priority.VOTES, -1):
            waiting = self._classes[priority]
            while waiting and (self.bytes > most_bytes or self.messages > most_messages):
                self.bytes -= waiting.popleft()[2]
                self.messages -= 1
                self._shed[priority] += 1
        if self.bytes > most_bytes or self.messages > most_messages:
            self._stall()

    def _stall(self) -> None:
        self.stalled = True
        for waiting in self._classes:
            waiting.clear()
        for control in (self._subscriptions, self._grafts, self._want, self._dont_want):
            control.clear()
        self.bytes = self.messages = 0

    # -- out

    def take(self, most_bytes: int, unwanted: Container[bytes]) -> Rpc | None:
        """What fits into one RPC, None where nothing waits (router.take). unwanted: ids that the neighbour has."""
        if not self:
            return None
        left = most_bytes
        subscriptions, graft, prune = self._take_control()
        left -= _CONTROL_SIZE * (len(subscriptions) + len(graft))
        left -= sum(_CONTROL_SIZE + sum(len(info.record) + 64 for info in one.peers) for one in prune)
        ids = MAX_MESSAGE_IDS
        want = list(islice(self._want, ids))
        for id_ in want:
            del self._want[id_]
        ids -= len(want)
        dont_want = [self._dont_want.popleft() for _ in range(min(len(self._dont_want), ids))]
        ids -= len(dont_want)
        left -= _ID_SIZE * (len(want) + len(dont_want))
        alone = left == most_bytes
        messages: tuple[Message, ...] = ()
        if self.messages and not (dont_want and self.bytes >= _AHEAD):
            messages, left = self._take_messages(left, unwanted, alone)
        have = self._take_have(min(ids, left // _ID_SIZE if messages or not alone else ids)) if self._have else ()
        if not (messages or have or not alone):
            return None
        return Rpc(
            subscriptions=subscriptions, messages=messages, ihave=have, iwant=(IWant(tuple(want)),) if want else (),
            graft=graft, prune=prune, idontwant=(IDontWant(tuple(dont_want)),) if dont_want else (),
        )

    def _take_control(self) -> tuple[tuple[Subscription, ...], tuple[Graft, ...], tuple[Prune, ...]]:
        topics = list(islice(self._subscriptions, MAX_CONTROL_TOPICS))
        subscriptions = tuple(Subscription(topic, self._subscriptions.pop(topic)) for topic in topics)
        grafts: list[Graft] = []
        prunes: list[Prune] = []
        for topic in list(self._grafts):
            message = self._grafts[topic]
            if isinstance(message, Graft):
                if len(grafts) == MAX_CONTROL_TOPICS:
                    continue
                grafts.append(message)
            else:
                if len(prunes) == MAX_RPC_PRUNES:
                    continue
                prunes.append(message)
            del self._grafts[topic]
        return subscriptions, tuple(grafts), tuple(prunes)

    def _take_messages(
        self, left: int, unwanted: Container[bytes], alone: bool,
    ) -> tuple[tuple[Message, ...], int]:
        """Messages for an RPC that has `left` bytes of room, and the room that remains. alone: the RPC has nothing
        else, so that one message fits in any case."""
        if self.bytes <= left and self.messages <= MAX_RPC_MESSAGES:
            taken = tuple(item[1] for item in chain(*self._classes) if item[0] not in unwanted)
            left -= self.bytes
            for waiting in self._classes:
                waiting.clear()
            self.bytes = self.messages = 0
            return taken, left
        found: list[Message] = []
        for waiting in self._classes:
            while waiting:
                id_, message, size = waiting[0]
                wanted = id_ not in unwanted
                if wanted and ((size > left and (found or not alone)) or len(found) == MAX_RPC_MESSAGES):
                    return tuple(found), left
                waiting.popleft()
                self.bytes -= size
                self.messages -= 1
                if wanted:
                    found.append(message)
                    left -= size
        return tuple(found), left

    def _take_have(self, ids: int) -> tuple[IHave, ...]:
        """IHAVEs that name at most `ids` messages in all; one that does not fit as a whole waits."""
        taken: list[IHave] = []
        for topic in list(self._have)[:MAX_CONTROL_TOPICS]:
            if len(self._have[topic].ids) <= ids:
                taken.append(self._have.pop(topic))
                ids -= len(taken[-1].ids)
        return tuple(taken)
