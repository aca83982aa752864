"""`make bench-gossip`: what gossip costs a peer, in real processes on this machine. It asserts nothing.

Each peer publishes its share of RATE messages a second, of SIZE bytes, on one topic that all are on. For N = 4, 8, 16
and 32: CPU and bytes of a peer for each message that was delivered to it, and the delay from publisher to handler. At
N = 8 also py-libp2p's own pubsub and the Go daemon of hivemind (bench_gossip_go.py), in the same run, and all three at
eight times the rate.

The CPU includes everything the process does in that time: heartbeats, pings, discovery. `idle` is what it does without
messages.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.gossip.host import NetworkConfig, open_network
from tests.tools.bench_gossip_go import measure_go

LISTEN = "/ip4/127.0.0.1/tcp/0"
LINKS, ENOUGH = 8, 4  # that a peer of ours aims for, and without which it does not begin
RATE, SIZE = 50, 300  # messages a second of all peers together; bytes
TOPICS = ("votes", "proposals", "t")  # the first is forwarded at once; what is measured is what most gossip is
SETTLE_S = 10.0  # from the last connection to the first figure: meshes form, discovery calms down
IDLE_S, AFTER_S = 5.0, 2.0  # measured without messages before, and waited for the last ones after
LOOK_S = 0.2  # between two looks whether all are ready
STAMP = struct.Struct("<d")  # seconds, of the clock that all processes share


@dataclass(frozen=True)
class Plan:
    """One run."""

    peers: int
    rate: float  # of all peers
    seconds: float


@dataclass
class Report:
    """What one peer measured."""

    cpu_s: float = 0.0
    idle_s: float = 0.0  # CPU in a second without messages
    sent: int = 0  # messages
    io_bytes: int = 0  # read and written
    delays: list[float] = field(default_factory=list)


class Traffic:
    """Counts the bytes of this process's TCP streams."""

    def __init__(self) -> None:
        self.bytes = 0
        read, write = TrioTCPStream.read, TrioTCPStream.write

        async def counted_read(stream: Any, n: int | None = None) -> Any:
            data = await read(stream, n)
            self.bytes += len(data)
            return data

        async def counted_write(stream: Any, data: bytes) -> None:
            self.bytes += len(data)
            await write(stream, data)

        TrioTCPStream.read, TrioTCPStream.write = counted_read, counted_write


async def measure(
    pipe: Connection, plan: Plan, number: int, delays: list[float], ready: Callable[[], bool], publish: Any,
) -> Report:
    """Say when this peer is ready, and hear when all are; measure idle CPU; publish this peer's share and measure."""
    traffic = Traffic()
    while not ready():
        await trio.sleep(LOOK_S)
    pipe.send("ready")
    while not pipe.poll():
        await trio.sleep(LOOK_S)
    begin = pipe.recv()
    await trio.sleep(max(0.0, begin - time.monotonic()))
    cpu = time.process_time()
    await trio.sleep(IDLE_S)
    report = Report(idle_s=(time.process_time() - cpu) / IDLE_S)
    delays.clear()
    cpu, before = time.process_time(), traffic.bytes
    pause, start = plan.peers / plan.rate, begin + IDLE_S
    at = start + pause * number / plan.peers
    while at < start + plan.seconds:
        await trio.sleep(max(0.0, at - time.monotonic()))
        await publish(STAMP.pack(time.monotonic()) + os.urandom(SIZE - STAMP.size))
        report.sent += 1
        at += pause
    await trio.sleep(max(0.0, start + plan.seconds + AFTER_S - time.monotonic()))
    report.cpu_s, report.io_bytes, report.delays = time.process_time() - cpu, traffic.bytes - before, delays
    return report


def ours(pipe: Connection, plan: Plan, number: int, addresses: list[str]) -> None:
    """One peer of this repository, in its own process."""

    async def run() -> None:
        delays: list[float] = []

        def hear(forwarder: str, data: bytes) -> Outcome:
            delays.append(time.monotonic() - STAMP.unpack_from(data)[0])
            return Outcome.ACCEPT

        links = min(plan.peers - 1, LINKS)
        config = NetworkConfig(
            Key.generate(), "bench", (LISTEN,), tuple(addresses[:1]), topics=TOPICS, expected_size=plan.peers,
            min_connections=links,
        )
        async with open_network(config, topic_handlers={"t": hear}, stream_handlers={}) as net:
            pipe.send(net.addresses()[0])

            def ready() -> bool:
                return len(net.connected()) >= min(links, ENOUGH)

            pipe.send(await measure(pipe, plan, number, delays, ready, lambda data: net.publish("t", data)))

    trio.run(run)


def library(pipe: Connection, plan: Plan, number: int, addresses: list[str]) -> None:
    """One peer of py-libp2p's own pubsub, in its own process, connected to all others."""

    async def run() -> None:
        delays: list[float] = []
        listen = [Multiaddr(LISTEN)]
        quiet = ConnectionConfig(min_connections=0, low_watermark=0, max_connections_per_peer=1)
        host = new_host(key_pair=create_new_key_pair(os.urandom(32)), listen_addrs=listen, connection_config=quiet)
        gossip = GossipSub(
            [TProtocol(PROTOCOL_ID_V11)], 6, 4, 12, heartbeat_initial_delay=0.1, heartbeat_interval=1,
            adaptive_gossip_enabled=False, spam_protection_enabled=False, eclipse_protection_enabled=False,
        )
        pubsub = Pubsub(host, gossip)
        async with host.run(listen_addrs=listen), background_trio_service(gossip), background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            subscription = await pubsub.subscribe("t")
            for address in addresses:
                await host.connect(info_from_p2p_addr(Multiaddr(address)))
            pipe.send(str(host.get_addrs()[0]))

            async def hear() -> None:
                async for message in subscription:
                    if bytes(message.from_id) != pubsub.my_id.to_bytes():
                        delays.append(time.monotonic() - STAMP.unpack_from(message.data)[0])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)

                def ready() -> bool:
                    return len(pubsub.peer_topics.get("t", ())) >= plan.peers - 1

                pipe.send(await measure(pipe, plan, number, delays, ready, lambda data: pubsub.publish("t", data)))
                os._exit(0)  # the library's own shutdown takes seconds

    trio.run(run)


def run_peers(peer: Callable[..., None], plan: Plan) -> list[Report]:
    """Start the peers one after another, each a fork of this process, and collect what they measured."""
    context = get_context("fork")
    pipes, processes, addresses = [], [], list[str]()
    try:
        for number in range(plan.peers):
            here, there = context.Pipe()
            process = context.Process(target=_quiet, args=(peer, there, plan, number, list(addresses)))
            process.start()
            pipes.append(here)
            processes.append(process)
            addresses.append(here.recv())
        for pipe in pipes:
            assert pipe.recv() == "ready"
        for pipe in pipes:
            pipe.send(time.monotonic() + SETTLE_S)
        return [pipe.recv() for pipe in pipes]
    finally:
        for process in processes:
            process.join(5.0)
            process.kill()


def _quiet(peer: Callable[..., None], *arguments: Any) -> None:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        peer(*arguments)


def row(name: str, plan: Plan, reports: list[Report]) -> str:
    """One line of the table."""
    delivered = sum(len(one.delays) for one in reports)
    due = sum(one.sent for one in reports) * (plan.peers - 1)
    delays = sorted(delay for one in reports for delay in one.delays) or [0.0]
    cpu, busy = sum(one.cpu_s for one in reports), plan.seconds + AFTER_S
    idle = sum(one.idle_s for one in reports)
    each = max(1, delivered)
    return (
        f"{name:<12} {plan.peers:>3} {plan.rate:>6.0f} {delivered / max(1, due):>9.3f} {1000 * cpu / each:>8.3f} "
        f"{1000 * (cpu - idle * busy) / each:>9.3f} {100 * idle / plan.peers:>6.1f} "
        f"{sum(one.io_bytes for one in reports) / each:>7.0f} {1000 * delays[len(delays) // 2]:>7.1f} "
        f"{1000 * delays[len(delays) * 95 // 100]:>7.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", type=int, nargs="*", default=[4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=10.0, help="of publishing, each")
    parser.add_argument("--alone", action="store_true", help="without the other two")
    given = parser.parse_args()
    sys.stdout.write(
        f"messages of {SIZE} bytes; ms, bytes and delays for each delivered message; load {os.getloadavg()[0]:.1f}\n"
        f"{'':<12} {'N':>3} {'a sec.':>6} {'delivered':>9} {'CPU ms':>8} {'less idle':>9} {'idle %':>6} "
        f"{'bytes':>7} {'p50 ms':>7} {'p95 ms':>7}\n"
    )

    def show(name: str, plan: Plan, measured: list[Report]) -> None:
        sys.stdout.write(row(name, plan, measured) + "\n")
        sys.stdout.flush()

    for peers in given.peers:
        for rate in (RATE, 8 * RATE) if peers == 8 else (RATE,):
            plan = Plan(peers, rate, given.seconds)
            show("ours", plan, run_peers(ours, plan))
            if peers == 8 and not given.alone:
                show("py-libp2p", plan, run_peers(library, plan))
                show_go(plan, show)


def show_go(plan: Plan, show: Callable[[str, Plan, list[Report]], None]) -> None:
    found = measure_go(plan.peers, plan.rate, plan.seconds, IDLE_S, AFTER_S, SIZE)
    if isinstance(found, str):
        sys.stdout.write(f"go-libp2p    not measured: {found}\n")
        return
    show("go-libp2p", plan, [Report(cpu, idle, sent, 0, delays) for cpu, idle, sent, delays in found])


if __name__ == "__main__":
    main()
