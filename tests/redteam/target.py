"""What a stranger knows of its victims, and its tools.

Law: public facts, and keys of its own (one validator of small weight, some accounts).

A stranger is a file in strangers/ with `async def attack(target)`, which does harm until it is cancelled. Its docstring
says what it tries and which kind of fault it stands for (README.md lists the kinds). Each stranger keeps to a budget of
its own: an attacker that takes the whole machine proves nothing about the peers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.client.ask import ask_over
from p2p.client.connection import query
from p2p.client.nonces import Nonces
from p2p.client.question import Endpoint, Payer, Question
from p2p.gossip.connections.topics import topic_name
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from tests.gossip.attacks import message
from tests.gossip.lab import bare_host, info

MOST_OVERHEARD = 512
DEEDS: Counter[str] = Counter()  # what this attacker did: `done` and `refused` calls, ticks, and errors by name
TOPICS = ("votes", "proposals", "transactions")


@dataclass(slots=True)
class Overheard:
    """Others' gossip messages."""

    _kept: dict[tuple[str, bytes], None] = field(default_factory=dict)

    def hear(self, topic: str, data: bytes) -> Outcome:
        """Keep the oldest; they are what is wanted."""
        if len(self._kept) < MOST_OVERHEARD:
            self._kept[topic, data] = None
        return Outcome.ACCEPT

    def messages(self) -> list[Any]:
        """What was heard, oldest first, at most MOST_OVERHEARD."""
        return [message(data, topic=topic) for topic, data in self._kept]


@dataclass(frozen=True, slots=True)
class Target:
    """The network under attack, and what the attacker holds."""

    addresses: tuple[str, ...]  # of the honest peers
    genesis: Genesis  # as everybody has it
    validator: Key  # node key of small weight that the attacker holds
    owner: Key  # that node's account
    rich: tuple[Key, ...]  # the attacker's accounts with money
    directory: Path  # for what the attacker writes
    hostile: str = ""  # where the attacker's own peer listens; '' where it runs none

    @classmethod
    def load(cls, file: Path) -> Target:
        """Read a target.json that field.py wrote."""
        plain = json.loads(file.read_text())
        directory = Path(plain["directory"])

        def key(text: str) -> Key:
            return Key(bytes.fromhex(text))

        return cls(
            tuple(plain["addresses"]), unpack(Genesis, Path(plain["genesis"]).read_bytes()), key(plain["validator"]),
            key(plain["owner"]), tuple(map(key, plain["rich"])), directory, plain["hostile"],
        )

    def peers(self) -> tuple[str, ...]:
        """Peer ids of the victims."""
        return tuple(address.rsplit("/p2p/", 1)[1] for address in self.addresses)

    def ports(self) -> tuple[int, ...]:
        """TCP ports of the victims."""
        return tuple(int(address.split("/tcp/")[1].split("/")[0]) for address in self.addresses)

    @asynccontextmanager
    async def joined(self, key: Key | None = None, listen: Sequence[str] = ()) -> AsyncIterator[Network]:
        """A host of our own code, connected to every victim and subscribed to all topics."""
        config = NetworkConfig(
            key or Key.generate(), network_of(self.genesis), tuple(listen), (), topics=TOPICS, expected_size=6,
            min_connections=0,
        )
        async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
            await self.connect(network)
            yield network

    async def connect(self, network: Network) -> None:
        """Connect to every victim that lets us."""
        for address in self.addresses:
            await quietly(network.connect, address)

    @asynccontextmanager
    async def bare(self, name: str) -> AsyncIterator[Any]:
        """A libp2p host without our guards, connected to every victim."""
        async with bare_host(name) as host:
            await self.connect_bare(host)
            yield host

    async def connect_bare(self, host: Any) -> None:
        """Connect to every victim that lets us and that we are not connected to."""
        for address in self.addresses:
            if info(address).peer_id not in host.get_connected_peers():
                await quietly(host.connect, info(address), timeout_s=3.0)

    @asynccontextmanager
    async def overhearing(self, topics: Sequence[str]) -> AsyncIterator[Overheard]:
        """A host that hears the victims' gossip on `topics`."""
        heard = Overheard()

        def hear(topic: str) -> Callable[[str, bytes], Outcome]:
            name = topic_name(network_of(self.genesis), topic)
            return lambda forwarder, data: heard.hear(name, data)

        handlers = {topic: hear(topic) for topic in topics}
        config = NetworkConfig(
            Key.generate(), network_of(self.genesis), (), (), topics=TOPICS, expected_size=6, min_connections=0
        )
        async with open_network(config, topic_handlers=handlers, stream_handlers={}) as network:
            await self.connect(network)
            yield heard


async def quietly(call: Any, *arguments: Any, timeout_s: float = 10.0) -> Any:
    """The result of `call`, or None when the victim refuses in whatever way: an attacker does not care why."""
    try:
        with trio.move_on_after(timeout_s):
            found = await call(*arguments)
            DEEDS["done"] += 1
            return found
        DEEDS["too slow"] += 1
    except Exception as error:  # py-libp2p raises many types, our own code more
        DEEDS[type(error).__name__] += 1
    return None


async def ask_hostile(target: Target, per_s: float) -> None:
    """Ask the attacker's own peer, which as agent does with the honest executors what it likes."""
    to, nonces = Endpoint(target.hostile, target.genesis), Nonces(target.directory / "hostile-nonces")
    payer = Payer(target.rich[0], nonces)
    async with target.joined() as network:
        await quietly(network.connect, target.hostile)
        async for number in each_tick(per_s):
            question = Question(DEFAULT_MODEL, one_message(f"asked {number}"), max_tokens=60)
            try:
                async for _ in ask_over(network, to, question, payer, patience=0):
                    DEEDS["events"] += 1
            except FolkmootError as error:
                DEEDS[f"{error.code}: {error.field}"] += 1
                await quietly(network.connect, target.hostile)


async def height(target: Target, network: Network) -> int:
    """The chain's height, as the first victim that answers says; 1 where none does."""
    for peer in target.peers():
        found = await quietly(query, network, peer, {"op": "status"})
        if found:
            return int(found["height"])
    return 1


def network_of(genesis: Genesis) -> str:
    """The network id that every signature and greeting names."""
    return genesis.network


async def each_tick(per_s: float) -> AsyncIterator[int]:
    """0, 1, 2, ..., at most `per_s` of them a second: the attacker's budget."""
    number, due = 0, trio.current_time()
    while True:
        yield number
        DEEDS["ticks"] += 1
        number += 1
        due += 1 / per_s
        await trio.sleep(max(0.0, due - trio.current_time()))
        due = max(due, trio.current_time() - 1)
