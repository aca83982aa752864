"""What a stranger knows of its victims, and its tools. Law: public facts, and keys of its own: one validator of small
weight, accounts.

A stranger is a file in strangers/ with `async def attack(target)`, which does harm until it is cancelled, and says in
its docstring what it tries and which kind of fault it stands for. It has a budget of its own: an attacker that eats the
machine proves nothing about the peers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.client.ask import AskSpec, ask_over, query
from p2p.client.nonces import Nonces
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from tests.gossip.lab import bare_host, info

MOST_OVERHEARD = 512
DEEDS: Counter[str] = Counter()  # what this attacker did: `done` and `refused` calls, ticks, and errors by name
TOPICS = ("votes", "proposals", "transactions")


@dataclass(slots=True)
class Overheard:
    """network: its router passes on what it hears, and so keeps it for a while."""

    network: Network
    _kept: dict[bytes, Any] = field(default_factory=dict)

    def messages(self) -> list[Any]:
        """Oldest first, at most MOST_OVERHEARD."""
        for message in list(self.network._pubsub.router.mcache.msgs.values()):
            self._kept.setdefault(bytes(message.signature), message)
        while len(self._kept) > MOST_OVERHEARD:
            del self._kept[next(reversed(self._kept))]  # the old ones are what is wanted
        return list(self._kept.values())


@dataclass(frozen=True, slots=True)
class Target:
    """addresses: of the honest peers. genesis: as everybody has it. validator: a key of small weight that the attacker
    holds, with its owner's account. rich: accounts with money. directory: for what the attacker writes. hostile: where
    the attacker's own peer listens, if it has one."""

    addresses: tuple[str, ...]
    genesis: Genesis
    validator: Key
    owner: Key
    rich: tuple[Key, ...]
    directory: Path
    hostile: str = ""

    @classmethod
    def load(cls, file: Path) -> Target:
        plain = json.loads(file.read_text())
        directory = Path(plain["directory"])

        def key(text: str) -> Key:
            return Key(bytes.fromhex(text))

        return cls(
            tuple(plain["addresses"]), unpack(Genesis, Path(plain["genesis"]).read_bytes()), key(plain["validator"]),
            key(plain["owner"]),
            tuple(map(key, plain["rich"])), directory, plain["hostile"],
        )

    def peers(self) -> tuple[str, ...]:
        return tuple(address.rsplit("/p2p/", 1)[1] for address in self.addresses)

    def ports(self) -> tuple[int, ...]:
        return tuple(int(address.split("/tcp/")[1].split("/")[0]) for address in self.addresses)

    @asynccontextmanager
    async def joined(self, key: Key | None = None, listen: Sequence[str] = ()) -> AsyncIterator[Network]:
        """Our own host, greeted by every victim, on all topics."""
        config = NetworkConfig(
            key or Key.generate(), network_of(self.genesis), tuple(listen), (), topics=TOPICS, expected_size=6,
            min_connections=0,
        )
        async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
            await self.connect(network)
            yield network

    async def connect(self, network: Network) -> None:
        """To every victim that lets us."""
        for address in self.addresses:
            await quietly(network.connect, address)

    @asynccontextmanager
    async def bare(self, name: str) -> AsyncIterator[Any]:
        """A libp2p host without our guards, connected to every victim."""
        async with bare_host(name) as host:
            await self.connect_bare(host)
            yield host

    async def connect_bare(self, host: Any) -> None:
        """To every victim that lets us; one that we are connected to is left as it is."""
        for address in self.addresses:
            if info(address).peer_id not in host.get_connected_peers():
                await quietly(host.connect, info(address), timeout_s=3.0)

    @asynccontextmanager
    async def overhearing(self, topics: Sequence[str]) -> AsyncIterator[Overheard]:
        """Others' gossip as it was signed, of the last minutes."""
        handlers = {topic: (lambda author, data: Outcome.ACCEPT) for topic in topics}
        config = NetworkConfig(
            Key.generate(), network_of(self.genesis), (), (), topics=TOPICS, expected_size=6, min_connections=0
        )
        async with open_network(config, topic_handlers=handlers, stream_handlers={}) as network:
            await self.connect(network)
            yield Overheard(network)


async def quietly(call: Any, *arguments: Any, timeout_s: float = 10.0) -> Any:
    """The result, or None when the victim refuses in whatever way: an attacker does not care why."""
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
    """Questions to the attacker's own peer, which as their agent does with the honest executors what it likes."""
    key = target.rich[0]
    async with target.joined() as network:
        await quietly(network.connect, target.hostile)
        async for number in each_tick(per_s):
            spec = AskSpec(
                target.hostile, key, network_of(target.genesis), DEFAULT_MODEL, f"asked {number}", max_tokens=60,
                genesis=target.genesis, nonces=Nonces(target.directory / "hostile-nonces"),
            )
            try:
                async for _ in ask_over(network, spec):
                    DEEDS["events"] += 1
            except FolkmootError as error:
                DEEDS[f"{error.code}: {error.field}"] += 1
                await quietly(network.connect, target.hostile)


async def height(target: Target, network: Network) -> int:
    """Of the first victim that answers."""
    for peer in target.peers():
        found = await quietly(query, network, peer, {"op": "status"})
        if found:
            return int(found["height"])
    return 1


def network_of(genesis: Genesis) -> str:
    """What every signature and greeting names."""
    return genesis.network


async def each_tick(per_s: float) -> AsyncIterator[int]:
    """0, 1, 2, ... at most `per_s` a second: the attacker's own budget."""
    number, due = 0, trio.current_time()
    while True:
        yield number
        DEEDS["ticks"] += 1
        number += 1
        due += 1 / per_s
        await trio.sleep(max(0.0, due - trio.current_time()))
        due = max(due, trio.current_time() - 1)
