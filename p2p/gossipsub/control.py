"""Control messages that wait to be sent to one neighbour.

Law: of what is said of a topic only the last word waits; so their number is bounded by the topics, and by the ids that
fit one RPC.

- QUEUE-4: of subscriptions, GRAFTs and PRUNEs only the last for a topic waits, of IHAVEs too.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from p2p.base.limits import MAX_CONTROL_TOPICS, MAX_MESSAGE_IDS, MAX_RPC_PRUNES
from p2p.gossipsub.rpc import ID_BYTES, Graft, IDontWant, IHave, IWant, Prune, Rpc, Subscription

ID_SIZE: Final = ID_BYTES + 2  # bytes of an id in an RPC
_TOPIC_SIZE: Final = 96  # bytes of a GRAFT, a PRUNE without peers or a subscription: about a topic's name
_PEER_SIZE: Final = 64  # bytes of a peer in a PRUNE, without its record


class Control:
    """What is to be said beside messages."""

    __slots__ = ("_dont_want", "_have", "_mesh", "_subscriptions", "_want", "waits")

    def __init__(self) -> None:
        self._subscriptions: dict[str, bool] = {}
        self._mesh: dict[str, Graft | Prune] = {}
        self._have: dict[str, IHave] = {}
        self._want: dict[bytes, None] = {}
        self._dont_want: deque[bytes] = deque(maxlen=MAX_MESSAGE_IDS)
        self.waits = False  # whether there is anything

    # -- in

    def subscribe(self, topic: str, subscribe: bool) -> None:
        """A subscription waits, or its end."""
        self._subscriptions[topic] = subscribe
        self.waits = True

    def mesh(self, message: Graft | Prune) -> None:
        """A GRAFT or PRUNE waits."""
        self._mesh[message.topic] = message
        self.waits = True

    def have(self, message: IHave) -> None:
        """An IHAVE waits."""
        self._have[message.topic] = message
        self.waits = True

    def want(self, ids: list[bytes]) -> list[bytes]:
        """Messages are asked for; at most MAX_MESSAGE_IDS wait. Returns those that wait now and did not before."""
        taken = [id_ for id_ in ids if id_ not in self._want][: MAX_MESSAGE_IDS - len(self._want)]
        self._want.update(dict.fromkeys(taken))
        self.waits = bool(self.waits or taken)
        return taken

    def dont_want(self, id_: bytes) -> None:
        """An IDONTWANT waits; the oldest of too many is dropped."""
        self._dont_want.append(id_)
        self.waits = True

    def drop_have(self) -> int:
        """Drop the IHAVEs. Returns their number."""
        number = len(self._have)
        self._have.clear()
        self._look()
        return number

    def clear(self) -> None:
        """Drop everything."""
        for kind in (self._subscriptions, self._mesh, self._have, self._want, self._dont_want):
            kind.clear()
        self.waits = False

    # -- out

    def take(self) -> Rpc:
        """Everything but IHAVEs that one RPC may hold."""
        topics = list(islice(self._subscriptions, MAX_CONTROL_TOPICS))
        grafts = [one for one in self._mesh.values() if isinstance(one, Graft)][:MAX_CONTROL_TOPICS]
        prunes = [one for one in self._mesh.values() if isinstance(one, Prune)][:MAX_RPC_PRUNES]
        for topic in [one.topic for one in grafts] + [one.topic for one in prunes]:
            del self._mesh[topic]
        want = tuple(islice(self._want, MAX_MESSAGE_IDS))
        for id_ in want:
            del self._want[id_]
        dont_want = tuple(
            self._dont_want.popleft() for _ in range(min(len(self._dont_want), MAX_MESSAGE_IDS - len(want)))
        )
        taken = Rpc(
            subscriptions=tuple(Subscription(topic, self._subscriptions.pop(topic)) for topic in topics),
            iwant=(IWant(want),) if want else (), graft=tuple(grafts), prune=tuple(prunes),
            idontwant=(IDontWant(dont_want),) if dont_want else (),
        )
        self._look()
        return taken

    def take_have(self, ids: int) -> tuple[IHave, ...]:
        """IHAVEs that name at most `ids` messages in all; one that does not fit as a whole waits."""
        taken: list[IHave] = []
        for topic in list(self._have)[:MAX_CONTROL_TOPICS]:
            if len(self._have[topic].ids) <= ids:
                taken.append(self._have.pop(topic))
                ids -= len(taken[-1].ids)
        self._look()
        return tuple(taken)

    def _look(self) -> None:
        self.waits = bool(self._subscriptions or self._mesh or self._have or self._want or self._dont_want)


def size_of(rpc: Rpc) -> int:
    """About the bytes of an RPC's control messages."""
    ids = [want.ids for want in rpc.iwant] + [want.ids for want in rpc.idontwant]
    return (
        _TOPIC_SIZE * (len(rpc.subscriptions) + len(rpc.graft) + len(rpc.prune)) + ID_SIZE * sum(map(len, ids))
        + sum(_PEER_SIZE + len(info.record) for prune in rpc.prune for info in prune.peers)
    )
