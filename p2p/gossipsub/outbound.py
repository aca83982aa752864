"""What waits to be sent to one neighbour.

Law: a queue is bounded in bytes and messages; the oldest of the least important class goes first, and votes and control
never do.

- QUEUE-1: messages leave by class, and within a class in the order in which they came.
- QUEUE-2: above a bound, gossip about messages (IHAVE) goes first, then the oldest message of the least important
  class, and each is counted.
- QUEUE-3: when votes alone are above a bound, the neighbour is stalled: it gets nothing more, and its connection is to
  end.

QUEUE-4 is in control.py, QUEUE-5 in neighbours.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Final

from p2p.base.limits import MAX_MESSAGE_IDS, MAX_RPC_MESSAGES, QUEUE_BYTES, QUEUE_MESSAGES
from p2p.gossipsub.control import ID_SIZE, Control, size_of
from p2p.gossipsub.params import Priority
from p2p.gossipsub.rpc import Message, Rpc

Item = tuple[bytes, Message, int]  # id, message, its bytes in an RPC: one object shared by all queues and the cache
IHAVES: Final = len(Priority)  # the index of shed IHAVEs, behind those of the classes

_FRAMING: Final = 12  # bytes around a message's two fields, at most
_AHEAD: Final = 8192  # bytes of messages before which an IDONTWANT leaves in an RPC of its own: it would come too late


def item_of(id_: bytes, message: Message) -> Item:
    """A message as it waits."""
    return id_, message, len(message.data) + len(message.topic) + _FRAMING


class Outbound:
    """The queue of one neighbour."""

    __slots__ = ("_classes", "_shed", "bytes", "control", "lost", "messages", "stalled")

    def __init__(self, shed: list[int]) -> None:
        """shed: counts what is shed, by class and then IHAVES; shared by all queues of a router."""
        self._classes: tuple[deque[Item], ...] = tuple(deque() for _ in Priority)
        self._shed = shed
        self.control = Control()
        self.bytes = 0  # of messages
        self.messages = 0
        self.lost = False  # something was shed since this was last set to False
        self.stalled = False

    def __bool__(self) -> bool:
        return (self.messages > 0 or self.control.waits) and not self.stalled

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

    def shed(self, most_bytes: int, most_messages: int) -> None:
        """Bring the queue within these bounds (QUEUE-2, QUEUE-3)."""
        self.lost = True
        self._shed[IHAVES] += self.control.drop_have()
        for priority in range(len(self._classes) - 1, Priority.VOTES, -1):
            waiting = self._classes[priority]
            while waiting and (self.bytes > most_bytes or self.messages > most_messages):
                self.bytes -= waiting.popleft()[2]
                self.messages -= 1
                self._shed[priority] += 1
        if self.bytes > most_bytes or self.messages > most_messages:
            self.stalled = True
            self.control.clear()
            self._empty()

    def _empty(self) -> None:
        for waiting in self._classes:
            waiting.clear()
        self.bytes = self.messages = 0

    # -- out

    def take(self, most_bytes: int, unwanted: Container[bytes]) -> Rpc | None:
        """What fits into one RPC, None where nothing waits (router.take). unwanted: ids that the neighbour has."""
        if self.control.waits:
            return None if self.stalled else self._take_both(most_bytes, unwanted)
        messages = self._take_messages(most_bytes, unwanted, True) if self.messages else None
        return Rpc(messages=tuple(messages)) if messages else None

    def _take_both(self, most_bytes: int, unwanted: Container[bytes]) -> Rpc | None:
        rpc = self.control.take()
        ids = MAX_MESSAGE_IDS - sum(len(one.ids) for one in rpc.iwant) - sum(len(one.ids) for one in rpc.idontwant)
        left = most_bytes - size_of(rpc)
        alone = left == most_bytes
        messages: list[Message] = []
        if self.messages and not (rpc.idontwant and self.bytes >= _AHEAD):
            before = self.bytes
            messages = self._take_messages(left, unwanted, alone)
            left -= before - self.bytes
        have = self.control.take_have(ids if alone and not messages else max(0, min(ids, left // ID_SIZE)))
        if alone and not messages and not have:
            return None
        return Rpc(
            subscriptions=rpc.subscriptions, messages=tuple(messages), ihave=have, iwant=rpc.iwant, graft=rpc.graft,
            prune=rpc.prune, idontwant=rpc.idontwant,
        )

    def _take_messages(self, left: int, unwanted: Container[bytes], alone: bool) -> list[Message]:
        """Messages for an RPC that has `left` bytes of room. alone: it has nothing else, so that one message fits in
        any case."""
        found: list[Message] = []
        if self.bytes <= left and self.messages <= MAX_RPC_MESSAGES:
            for waiting in self._classes:
                if waiting:
                    found += [item[1] for item in waiting if item[0] not in unwanted]
            self._empty()
            return found
        for waiting in self._classes:
            while waiting:
                id_, message, size = waiting[0]
                if id_ not in unwanted:
                    if (size > left and (found or not alone)) or len(found) == MAX_RPC_MESSAGES:
                        return found
                    found.append(message)
                    left -= size
                waiting.popleft()
                self.bytes -= size
                self.messages -= 1
        return found
