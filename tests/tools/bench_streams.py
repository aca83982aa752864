"""`make bench-streams`: what it costs to open a stream to a peer and get one frame back, in real processes.

Four ways in turn, in one run: with the library as it is; with the repairs that save turns of the event loop (G-20 to
G-22); with these and all that is said in one write (opening.py); and on a stream that was kept open. Each has a client
and a server of its own, connected over loopback. `busy`: both processes have another task that always has work, as a
peer has that checks a block; each turn of the loop then takes as long as a piece of that work. It asserts nothing.

    python -m tests.tools.bench_streams [--streams 40] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.security.secure_session import SecureSession

from p2p.base.errors import FolkmootError
from p2p.base.keys import Key, NetworkId
from p2p.gossip.connections import turns
from p2p.gossip.connections.streams import Stream
from p2p.gossip.connections.topics import protocol_name
from p2p.gossip.host import Network, NetworkConfig, open_network

NETWORK, PROTOCOL, LISTEN = NetworkId("bench-streams"), "echo", ("/ip4/127.0.0.1/tcp/0",)
LIBRARY, TURNS, AT_ONCE, KEPT = "the library as it is", "and fewer turns", "and all said at once", "a stream kept open"
WAYS = (LIBRARY, TURNS, AT_ONCE, KEPT)
FRAME = b"x" * 700  # about a question
PIECE_S = 0.0005  # of other work
SETTLE_S = 2.0  # for identification and the greeting


@dataclass
class Counts:
    """Of one process."""

    cpu_s: float = 0.0
    turns: int = 0
    messages: int = 0  # written to connections: each is encrypted, and one system call

    def since(self, before: Counts) -> Counts:
        return Counts(self.cpu_s - before.cpu_s, self.turns - before.turns, self.messages - before.messages)


@dataclass
class Found:
    """Of one way."""

    took_s: list[float] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)  # of both ends, a round each


class Counter(trio.abc.Instrument):
    """Counts what this process does."""

    def __init__(self) -> None:
        self._counts = Counts()
        write = SecureSession.write

        async def counted(session: Any, data: bytes) -> None:
            self._counts.messages += 1
            await write(session, data)

        SecureSession.write = counted  # type: ignore[method-assign]

    def before_io_wait(self, timeout: float) -> None:
        self._counts.turns += 1

    def now(self) -> Counts:
        return Counts(time.process_time(), self._counts.turns, self._counts.messages)


async def work(piece_s: float) -> None:
    """Until cancelled: compute, a piece each turn of the loop."""
    while True:
        until = time.perf_counter() + piece_s
        while time.perf_counter() < until:
            pass
        await trio.lowlevel.checkpoint()


async def echo(stream: Stream) -> None:
    try:
        while True:
            await stream.send(await stream.receive())
    except FolkmootError:  # the other side ended it
        return


async def peer(
    way: str, pipe: Connection, act: Callable[[Any, Network], Awaitable[Any]], listen: tuple[str, ...],
) -> None:
    """One process: it does what comes by the pipe, and answers there."""
    if way == LIBRARY:
        turns.install = lambda: None
    config = NetworkConfig(Key.generate(), NETWORK, listen, (), min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={PROTOCOL: echo}) as network:
        counter, busy = Counter(), trio.CancelScope()
        trio.lowlevel.add_instrument(counter)
        pipe.send(network.addresses()[0] if listen else "")
        async with trio.open_nursery() as nursery:
            while (command := await trio.to_thread.run_sync(pipe.recv)) is not None:
                if command == "count":
                    pipe.send(counter.now())
                elif command == "busy":
                    nursery.start_soon(_within, busy)
                    pipe.send(None)
                elif command == "idle":
                    busy.cancel()
                    busy = trio.CancelScope()
                    pipe.send(None)
                else:
                    pipe.send(await act(command, network))


async def _within(scope: trio.CancelScope) -> None:
    with scope:
        await work(PIECE_S)


class Asking:
    """The client's side of one way."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._kept: Stream | None = None

    async def act(self, command: Any, network: Network) -> Any:
        """Connect to an address, or ask so many times; then the seconds that each took."""
        if isinstance(command, str):
            await network.connect(command)
            self._peer = command.rpartition("/")[2]
            await trio.sleep(SETTLE_S)
            self._kept = await network.open_stream(self._peer, PROTOCOL)
            return None
        return [await self._ask(network) for _ in range(command)]

    async def _ask(self, network: Network) -> float:
        began = time.perf_counter()
        if self._way == KEPT:
            assert self._kept is not None
            stream = self._kept
        elif self._way == AT_ONCE:
            stream = await network.open_stream(self._peer, PROTOCOL)
        else:
            protocol = TProtocol(protocol_name(PROTOCOL))
            stream = Stream(await network.discovery.host.new_stream(ID.from_string(self._peer), [protocol]), self._peer)
        await stream.send(FRAME)
        await stream.receive()
        took = time.perf_counter() - began
        if stream is not self._kept:
            await stream.close()
        return took


async def _nothing(command: Any, network: Network) -> Any:
    raise ValueError(f"a server is told nothing, and not {command!r}")


def serve(way: str, pipe: Connection) -> None:
    trio.run(peer, way, pipe, _nothing, LISTEN)


def ask(way: str, pipe: Connection) -> None:
    trio.run(peer, way, pipe, Asking(way).act, ())


class Pair:
    """A client and a server."""

    def __init__(self, way: str) -> None:
        context = get_context("spawn")
        self.found: dict[str, Found] = {"idle": Found(), "busy": Found()}
        self._pipes, self._processes = [], []
        for run in (ask, serve):
            here, there = context.Pipe()
            process = context.Process(target=run, args=(way, there), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        _, address = [pipe.recv() for pipe in self._pipes]
        self._tell(self._pipes[0], address)

    def _tell(self, pipe: Any, command: Any) -> Any:
        pipe.send(command)
        return pipe.recv()

    def round(self, load: str, streams: int) -> None:
        for pipe in self._pipes:
            self._tell(pipe, load)
        before = [self._tell(pipe, "count") for pipe in self._pipes]
        took = self._tell(self._pipes[0], streams)
        spent = [self._tell(pipe, "count").since(one) for pipe, one in zip(self._pipes, before, strict=True)]
        for pipe in self._pipes:
            self._tell(pipe, "idle")
        self.found[load].took_s += took
        self.found[load].counts += spent

    def end(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join(10)
            if process.is_alive():
                process.kill()


def show(pairs: dict[str, Pair], streams: int, rounds: int) -> None:
    print(f"one frame there and back, {rounds} rounds of {streams} streams each way in turn; counts are of both ends")
    print(f"{'':26}{'ms median':>11}{'least':>8}{'busy':>8}{'CPU ms':>9}{'turns':>8}{'messages':>10}")
    for way, pair in pairs.items():
        idle, busy = pair.found["idle"], pair.found["busy"]
        each = streams * rounds
        cpu = sum(one.cpu_s for one in idle.counts) * 1e3 / each
        loops, messages = (sum(getattr(one, name) for one in idle.counts) / each for name in ("turns", "messages"))
        print(f"{way:26}{statistics.median(idle.took_s) * 1e3:11.2f}{min(idle.took_s) * 1e3:8.2f}"
              f"{statistics.median(busy.took_s) * 1e3:8.1f}{cpu:9.2f}{loops:8.1f}{messages:10.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=40, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pairs = {way: Pair(way) for way in WAYS}
    try:
        for _ in range(options.rounds):
            for pair in pairs.values():
                pair.round("idle", options.streams)
            for pair in pairs.values():
                pair.round("busy", max(1, options.streams // 4))
        show(pairs, options.streams, options.rounds)
    finally:
        for pair in pairs.values():
            pair.end()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
