"""`make bench-consensus`: what agreement costs, each figure with its bound from the same run. It asserts nothing.

1. Decision latency in one-way delays (simulator, constant delay). Bound 3: proposal, prevote, precommit; 5 where votes
   go by way of relays.
2. CPU and bytes per height (simulator; every peer verifies every signature). Bound: the raw cost of the cryptography.
3. Real processes on loopback without pacing. Bound: the raw cost of a height's signatures and fsyncs on this machine.
4. Catch-up of a real peer 10,000 heights behind, while the others go on. Bound: the raw cost of verifying its
   certificates.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import structlog

from p2p.base import vrf
from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key, signing_bytes, verify_raw
from p2p.chain.chain import Chain
from p2p.consensus import wire
from p2p.consensus.events import Broadcast
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.timing import Timing
from p2p.peer.control import call
from p2p.store.batch import Batch
from p2p.store.lmdb import Store
from testnet.generate import Plan, generate
from testnet.processes import start_peer, stop, up, wait_until
from testnet.state_file import read_state
from tests.chains import extend
from tests.sim.peer import Peer
from tests.sim.run import DISK, Run
from tests.sim.scenario import Scenario

SIZES = (4, 16, 64, 100)
DELAY_MS = 100
CALM = Timing(  # nothing but the three delays: timers far away, no repeats, the next height at once
    propose_ms=60_000, vote_ms=60_000, delta_ms=0, block_interval_ms=1, empty_block_interval_ms=2,
    rebroadcast_ms=10_000_000,
)


class Cost(NamedTuple):
    """What a height costs a simulated validator, in the mean of all."""

    delays: float  # one-way delays to a decision; the median
    cpu_ms: float
    bytes: float  # sent
    frames: float  # sent by streams, or through the mesh, where each goes straight to everybody
    certificate: int  # bytes of the one that decided the last height


class Meter(Run):
    """A simulated network with constant delays that notes when a height was proposed and decided, and what was sent."""

    def measure(self, heights: int) -> Cost:
        proposed: dict[int, int] = {}
        delays: list[float] = []
        sent = frames = 0

        def said(peer: Peer, say: Broadcast) -> None:
            nonlocal sent
            message = wire.parse(say.data)
            if isinstance(message, SignedProposal):
                proposed.setdefault(message.proposal.height, self.world.now)
                if peer.exchange is None or peer.exchange.is_mesh():  # else `carried` counts it
                    sent += len(say.data) * len(peer.others)

        def carried(peer: Peer, to: int, frame: bytes) -> None:
            nonlocal sent, frames
            del peer, to
            sent, frames = sent + len(frame), frames + 1

        def committed(peer: Peer, block: Block, commit: CommitCertificate) -> None:
            del block
            if commit.height > 1 and peer.key.public != peer.driver.machine.proposer_of(0):
                delays.append((self.world.now - proposed[commit.height]) / DELAY_MS)

        self.world.links.latency = (DELAY_MS, DELAY_MS)
        for peer in self.peers:
            peer.timing, peer.on_say, peer.on_committed, peer.on_frame = CALM, said, committed, carried
            peer.start()
        self.world.run(10**9, lambda: min(p.chain.height() for p in self.peers) >= 1, 10**9)
        begun, sent, frames = time.process_time(), 0, 0
        self.world.run(10**9, lambda: min(p.chain.height() for p in self.peers) >= 1 + heights, 10**9)
        count = len(self.peers)
        cpu = (time.process_time() - begun) / heights / count * 1000
        last = self.peers[0].chain.last_commit()
        assert last is not None
        for peer in self.peers:
            peer.stop()
        return Cost(
            statistics.median(delays), cpu, sent / heights / count, frames / heights / count, len(encode(last)),
        )


def meter(count: int, heights: int, exchange: str = "direct") -> Cost:
    """Run one Meter. It has a process of its own, so that no signature is remembered from before. exchange: how votes
    travel (tests/sim/run.PACES)."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        scenario = Scenario(1, (1,) * count, exchange=exchange)
        return Meter(scenario, Path(folder), None, memoise=False).measure(heights)


def repeat(action: Callable[[], object], times: int, clock: Callable[[], float] = time.process_time) -> float:
    """Milliseconds of CPU that one `action` takes, over `times` of them. clock: instead of CPU time."""
    started = clock()
    for _ in range(times):
        action()
    return (clock() - started) / times * 1000


class Raw:
    """What single operations cost on this machine, milliseconds."""

    def __init__(self, disk: Path) -> None:
        key, body = Key(bytes(32)), bytes(180)
        message = signing_bytes(Domain.PREVOTE, "bench", body)
        signature = key.sign(Domain.PREVOTE, "bench", body)
        self.sign = repeat(lambda: key.sign(Domain.PREVOTE, "bench", body), 300)
        self.verify = repeat(lambda: verify_raw(key.public, message, signature), 300)
        proof = vrf.prove(key.seed, message)
        self.prove = repeat(lambda: vrf.prove(key.seed, message), 50)
        self.beacon = repeat(lambda: vrf.verify(key.public, message, proof), 50)
        store = Store(disk / "raw")

        def write() -> None:
            batch = Batch()
            batch.put("meta", b"x", bytes(2000))
            store.commit(batch)

        self.fsync = repeat(write, 50, time.perf_counter)
        store.close()

    def height(self, count: int) -> float:
        """Cryptography of one validator and height: the others' votes and proposal, the last commit, the beacon, its
        own signatures.
        """
        quorum = count * 2 // 3 + 1
        return (
            2 * (count - 1) + 1 + quorum
        ) * self.verify + self.beacon + 2 * self.sign + (self.sign + self.prove) / count


def simulated(raw: Raw, sizes: tuple[int, ...], heights: int) -> None:
    print("simulator: decision latency, CPU, bytes (one-way delay constant, all signatures verified by everybody)")
    print(
        f"{'n':>5} {'delays':>8} {'bound':>6} {'CPU ms':>9} {'raw crypto ms':>14} {'ratio':>6} {'bytes':>10} "
        f"{'least':>9} {'ratio':>6} {'frames':>7}"
    )
    for count in sizes:
        with get_context("spawn").Pool(1) as pool:
            cost = pool.apply(meter, (count, heights))
        bound, least = raw.height(count), 2 * (count - 1) * (32 + 64)
        print(
            f"{count:5} {cost.delays:8.2f} {3:6} {cost.cpu_ms:9.1f} {bound:14.1f} {cost.cpu_ms / bound:6.2f} "
            f"{cost.bytes:10.0f} {least:9} {cost.bytes / least:6.2f} {cost.frames:7.1f}", flush=True,
        )
    print(
        "  CPU and bytes: per validator and height. least: two votes of a key and a signature to every other validator"
    )


def settings(count: int) -> tuple[tuple[str, int], ...]:
    return (("block_interval_ms", 1), ("empty_block_interval_ms", 1), ("expected_size", count))


def height(folder: Path) -> int:
    return int(call(folder, {"op": "status"})["height"])


def cpu_ms(directory: Path) -> float:
    """CPU time that the running processes of a test network have used so far, all together."""
    ticks = 0
    for entry in read_state(directory)["processes"].values():
        fields = Path(f"/proc/{entry['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def processes(raw: Raw, count: int, seconds: float, place: Path) -> None:
    """Blocks per second of `count` real peers without pacing, and what a block costs each of them. place: where
    their folders go."""
    directory = place / f"n{count}"
    directory.mkdir()
    folders = generate(Plan(directory, count, serving=False, settings=settings(count)))
    try:
        up(directory, folders, {}, lambda text: None)
        first, started, before = height(folders[0]), time.perf_counter(), cpu_ms(directory)
        time.sleep(seconds)
        decided, spent = height(folders[0]) - first, time.perf_counter() - started
        rate, cpu = decided / spent, (cpu_ms(directory) - before) / max(decided, 1) / count
    finally:
        stop(directory)
    # every peer's cryptography on 2 cores, and one peer's four durable writes (guard three times, block once) one after
    # the other
    least = raw.height(count) * count / 2 + 4 * raw.fsync
    print(
        f"n = {count} real processes: {rate:6.2f} blocks a second without pacing, {1000 / max(rate, 1e-9):7.0f} ms a "
        f"decision; raw cost of its signatures and fsyncs {least:6.1f} ms; ratio {1000 / max(rate, 1e-9) / least:5.1f}"
        f"; CPU {cpu:.1f} ms a decision and peer, of which signatures {raw.height(count):.1f} ms",
        flush=True,
    )


def catch_up(raw: Raw, heights: int, place: Path) -> None:
    """Heights per second of a peer that has nothing, next to three that have `heights` blocks and no snapshot."""
    directory = place / "catchup"
    directory.mkdir()
    folders = generate(Plan(directory, 4, serving=False, settings=(("expected_size", 4),), epoch_blocks=10**6))
    genesis = unpack(Genesis, (folders[0] / "genesis.cbor").read_bytes())
    keys = {key.public: key for key in (Key.load(folder / "node.key") for folder in folders)}
    first = Chain.open(folders[0], genesis)
    started, begin = time.perf_counter(), genesis.time_ms - heights * 10 - 1
    extend(first, heights, keys, lambda at: max(begin + at * 10, genesis.time_ms + at))
    print(f"catch-up: made {heights} heights in {time.perf_counter() - started:.0f} s", flush=True)
    first.close()
    for folder in folders[1:3]:
        shutil.copytree(folders[0] / "data", folder / "data")
    try:
        up(directory, folders[:3], {}, lambda text: None)
        address = call(folders[0], {"op": "status"})["addresses"][0]
        start_peer(directory, folders[3], address, None)
        wait_until(directory, folders[3], lambda s: s["height"] > 0, "syncing")
        from_, started, before = height(folders[3]), time.perf_counter(), height(folders[0])
        while height(folders[3]) < height(folders[0]) - 1:
            time.sleep(0.5)
            if time.perf_counter() - started > 900:
                break
        spent, reached = time.perf_counter() - started, height(folders[3])
        grown = height(folders[0]) - before
        top = reached - 1
        same = call(
            folders[3], {"op": "block", "height": top}
        )["app_hash"] == call(folders[0], {"op": "block", "height": top})["app_hash"]
    finally:
        stop(directory)
    # its certificate, the last commit inside it, the beacon, one write
    least = 2 * 3 * raw.verify + raw.beacon + raw.fsync
    rate = (reached - from_) / spent
    print(
        f"catch-up of {reached - from_} heights: {rate:.0f} a second, {1000 / rate:.2f} ms each; raw cost of the "
        f"proofs {least:.2f} ms; ratio {1000 / rate / least:.1f}; meanwhile the others decided {grown} more; "
        f"same app hash: {same}", flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench_consensus", description=__doc__)
    parser.add_argument(
        "--heights", type=int, default=10_000, help="how far behind the peer of the catch-up is; 0: without it",
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="length of each run of real processes (default: %(default)s)",
    )
    parser.add_argument(
        "--sizes", default=",".join(map(str, SIZES)), help="simulated validators; empty: none (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", default="4,7", help="numbers of real peers (default: %(default)s)",
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as folder:
        place = Path(folder)
        raw = Raw(place)
        print(
            f"raw, ms: sign {raw.sign:.3f}, verify {raw.verify:.3f}, VRF prove {raw.prove:.3f}, "
            f"VRF verify {raw.beacon:.3f}, fsynced commit {raw.fsync:.3f}", flush=True,
        )
        try:
            if options.sizes:
                simulated(raw, tuple(map(int, options.sizes.split(","))), 3)
            for count in map(int, options.processes.split(",")):
                processes(raw, count, options.seconds, place)
            if options.heights:
                catch_up(raw, options.heights, place)
        except (FolkmootError, subprocess.SubprocessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
