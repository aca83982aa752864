"""Routers in memory: one alone with neighbours that are only names, or many that hear each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from p2p.base.outcome import Outcome
from p2p.gossipsub.params import Params, Priority, ScoreParams, TopicScoreParams, params_for
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Delivery, Graft, Message, Rpc, Subscription, Version

VOTES, PROPOSALS, TXS, ADVERTS = "/x/votes", "/x/proposals", "/x/transactions", "/x/adverts"
PRIORITIES = {
    VOTES: Priority.VOTES, PROPOSALS: Priority.PROPOSALS, TXS: Priority.TRANSACTIONS, ADVERTS: Priority.ADVERTS,
}
MIB = 1 << 20
# P2 one point a message, P4 ten points a squared one, P5 as it is; P7 has no threshold: one breach, minus ten
SCORES = ScoreParams(
    topics={topic: TopicScoreParams(
        time_in_mesh_weight=0.0, first_message_deliveries_decay=0.9, invalid_message_deliveries_weight=-10.0,
        invalid_message_deliveries_decay=0.9,
    ) for topic in PRIORITIES},
    behaviour_penalty_threshold=0.0, behaviour_penalty_weight=-10.0, behaviour_penalty_decay=0.99,
)
PARAMS = Params(priorities=PRIORITIES, score=SCORES)


def few(**changes: object) -> Params:
    """PARAMS with some changed."""
    return replace(PARAMS, **changes)  # type: ignore[arg-type]


class One:
    """A router under test, its clock, and what it sent to each neighbour."""

    def __init__(self, params: Params = PARAMS, topics: tuple[str, ...] = (TXS,), seed: int = 1) -> None:
        self.now = 1000.0
        self.router = Router(params, Random(seed), me="me")
        for topic in topics:
            self.router.join(topic, self.now)

    def peer(
        self, name: str, *topics: str, version: Version = Version.V1_2, outbound: bool = False, group: str = "",
        quiet: bool = True,
    ) -> str:
        """A neighbour on these topics (TXS where none is said). quiet: what it is told at first is taken away."""
        self.router.add_peer(name, version=version, outbound=outbound, group=group, now=self.now)
        self.says(name, Rpc(subscriptions=tuple(Subscription(topic, True) for topic in topics or (TXS,))))
        if quiet:
            self.sent(name)
        return name

    def peers(self, number: int, *, first: str = "p", outbound: bool = False) -> list[str]:
        return [self.peer(f"{first}{i:02}", outbound=outbound) for i in range(number)]

    def member(self, name: str, topic: str = TXS, **options: bool) -> str:
        """A neighbour that grafted us."""
        self.peer(name, topic, **options)
        self.says(name, Rpc(graft=(Graft(topic),)))
        assert name in self.router.mesh(topic)
        self.sent(name)
        return name

    def says(self, name: str, rpc: Rpc) -> list[Delivery]:
        return self.router.receive(name, rpc, self.now)

    def brings(self, name: str, data: bytes, topic: str = TXS) -> list[Delivery]:
        return self.says(name, Rpc(messages=(Message(topic, data),)))

    def accepts(self, name: str, data: bytes, topic: str = TXS) -> bytes:
        """A neighbour brings a message that is new and right. Returns its id."""
        (delivery,) = self.brings(name, data, topic)
        self.router.judge(delivery.id, Outcome.ACCEPT, self.now)
        return delivery.id

    def sent(self, name: str, most_bytes: int = MIB) -> Rpc:
        """All that waits for a neighbour, as one RPC."""
        all_: list[Rpc] = []
        while (rpc := self.router.take(name, most_bytes)) is not None:
            all_.append(rpc)
        assert name not in self.router.due()
        return Rpc(*(
            tuple(part for rpc in all_ for part in getattr(rpc, field)) for field in Rpc.__struct_fields__
        ))

    def told(self, name: str) -> list[bytes]:
        """The data of all messages that wait for a neighbour."""
        return [message.data for message in self.sent(name).messages]

    def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 1
            self.router.heartbeat(self.now)


def accept(name: str, delivery: Delivery) -> Outcome:
    return Outcome.ACCEPT


@dataclass
class Net:
    """Routers that hear each other. `lost` says of an RPC whether it gets lost; `judge` is everybody's handler."""

    size: int
    degree: int  # connections that each dials
    seed: int = 1
    topics: tuple[str, ...] = (TXS,)
    params: Params | None = None
    judge: Callable[[str, Delivery], Outcome] = accept
    loss: float = 0.0
    now: float = 0.0
    routers: dict[str, Router] = field(default_factory=dict)
    got: dict[str, list[bytes]] = field(default_factory=dict)
    links: dict[str, set[str]] = field(default_factory=dict)
    copies: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        params = self.params or params_for(self.size, priorities=PRIORITIES)
        names = [f"n{i:03}" for i in range(self.size)]
        for i, name in enumerate(names):
            self.routers[name] = Router(params, Random(self.seed * 1000 + i), me=name)
            self.got[name] = []
            for topic in self.topics:
                self.routers[name].join(topic, self.now)
        for name in names:
            for other in self.rng.sample(names, min(self.degree + 1, self.size)):
                if other != name and other not in self.links.get(name, ()):
                    self.connect(name, other)
        self.settle()

    def connect(self, a: str, b: str) -> None:
        """a dials b."""
        self.links.setdefault(a, set()).add(b)
        self.links.setdefault(b, set()).add(a)
        self.routers[a].add_peer(b, version=Version.V1_2, outbound=True, group="", now=self.now)
        self.routers[b].add_peer(a, version=Version.V1_2, outbound=False, group="", now=self.now)

    def disconnect(self, a: str, b: str) -> None:
        self.links[a].discard(b)
        self.links[b].discard(a)
        self.routers[a].remove_peer(b, self.now)
        self.routers[b].remove_peer(a, self.now)

    def settle(self) -> None:
        """Until nothing waits anywhere."""
        while True:
            moved = [self.step(name) for name in self.routers]  # all of them, each time
            if not any(moved):
                return

    def step(self, name: str) -> bool:
        """Bring one RPC of a router to each neighbour that something waits for. Subscriptions do not get lost."""
        router, moved = self.routers[name], False
        for other in list(router.due()):
            rpc = router.take(other, MIB)
            if rpc is None:
                continue
            moved = True
            if self.loss and self.rng.random() < self.loss and not rpc.subscriptions:
                continue
            self.copies += len(rpc.messages)
            for delivery in self.routers[other].receive(name, rpc, self.now):
                self.got[other].append(delivery.id)
                self.routers[other].judge(delivery.id, self.judge(other, delivery), self.now)
        return moved

    def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 1
            for router in self.routers.values():
                router.heartbeat(self.now)
            self.settle()

    def publish(self, name: str, data: bytes, topic: str = TXS) -> bytes:
        return self.routers[name].publish(topic, data, self.now)

    def missing(self, ids: dict[bytes, str]) -> list[tuple[str, bytes]]:
        """Who has not got which of these messages. ids: with the name of who published each."""
        got = {name: set(ids_) for name, ids_ in self.got.items()}
        return [(name, id_) for name in self.routers for id_, by in ids.items() if by != name and id_ not in got[name]]
