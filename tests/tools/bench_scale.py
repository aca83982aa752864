"""`make bench-scale`: what a network of N real peers costs, idle and loaded, and how that grows with N. It asserts
nothing.

For each size: peers start at once, each told of the first one's address alone, as `folkmoot testnet up --ml-nodes 0`
starts them. One row says what they did in the first minute, one what a block costs afterwards. Loaded means inferences
of signed clients (Start, Finish and Output records; no engine runs). Everything runs on this machine, so CPU is what
limits a block's rate. The last lines fit cost = a N^b to the rows.

`python -m tests.tools.bench_scale [--sizes 4,8,...] [--seconds S] [--start S] [--load idle|loaded|both] [--rate R]`
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.errors import FolkmootError
from p2p.base.genesis import GenesisAccount
from p2p.peer.control import call
from testnet.big_block import CLIENTS, Load, client_key
from testnet.generate import CLIENT_BALANCE_MICRO, Plan, generate
from testnet.loaded import put_load
from testnet.processes import start_peer, stop, wait_until
from testnet.state_file import read_state

SIZES = (4, 8, 12, 16, 24, 32, 48)
LOADED = ("testnet.loaded", "--load-only")
GIVE_S = 2.0  # between two loads
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """All peers at one moment. Peers that do not answer are left out of `status`."""

    at_s: float
    cpu_s: float  # of all peers since they started
    memory: tuple[int, ...]  # bytes of each, shared pages in parts
    status: tuple[dict[str, Any], ...]

    def height(self) -> int:
        """Of the peer in the middle."""
        return int(statistics.median(row["height"] for row in self.status)) if self.status else 0

    def total(self, *path: str) -> int:
        """The sum of a number in every peer's status."""
        found = 0
        for row in self.status:
            value: Any = row
            for key in path:
                value = value.get(key, {}) if isinstance(value, dict) else {}
            found += value if isinstance(value, int) else 0
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """What a size costs, from one sample to a later one."""

    peers: int
    load: str
    seconds: float
    blocks: int
    cpu_s: float

    @property
    def cost_ms(self) -> float:
        """CPU per block and peer."""
        return self.cpu_s * 1000 / self.blocks / self.peers if self.blocks else math.nan


def processes(directory: Path) -> list[int]:
    """Process ids of the peers."""
    return [int(entry["pid"]) for name, entry in read_state(directory)["processes"].items() if name.startswith("peer")]


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process so far; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_of(pid: int) -> int:
    """Bytes of memory of a process, shared pages counted in parts; 0 where it is gone."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:")), 0)


def sample(directory: Path, folders: Sequence[Path]) -> Sample:
    """Look at all peers."""
    pids = processes(directory)
    at_s, cpu_s = time.perf_counter(), sum(map(cpu_of, pids))
    status = []
    for folder in folders:
        try:
            status.append(call(folder, {"op": "status"}))
        except FolkmootError:  # it starts, or does not answer in time
            continue
    return Sample(at_s, cpu_s, tuple(map(memory_of, pids)), tuple(status))


def bytes_by_topic(before: Sample, after: Sample, blocks: int, peers: int) -> str:
    """Bytes of messages received per block and peer on each topic, copies too."""
    came: Counter[str] = Counter()
    for sign, one in ((-1, before), (1, after)):
        for row in one.status:
            for topic, count in row.get("gossip", {}).get("bytes", {}).items():
                came[topic] += sign * int(count)
    return ", ".join(f"{topic} {count / max(blocks, 1) / peers:.0f}" for topic, count in sorted(came.items())) or "-"


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b) of value = a size^b with the least squares of logarithms; NaN for fewer than two points."""
    logs = [(math.log(x), math.log(y)) for x, y in points if y > 0 and not math.isnan(y)]
    if len(logs) < 2:
        return math.nan, math.nan
    mean_x, mean_y = statistics.mean(x for x, _ in logs), statistics.mean(y for _, y in logs)
    b = sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
    return math.exp(mean_y - b * mean_x), b


def start_all(directory: Path, folders: Sequence[Path], *, loaded: bool) -> None:
    """Start all peers at once, each told of the first one's address alone."""
    command = LOADED if loaded else None
    start_peer(directory, folders[0], None, None, command=command)
    first = wait_until(directory, folders[0], lambda status: bool(status["addresses"]), "listening")
    for folder in folders[1:]:
        start_peer(directory, folder, first["addresses"][0], None, command=command)


def give(load: Load, rate: float, seconds: float) -> None:
    """Hand inferences to the peers for `seconds`, `rate` of them a second."""
    end, first = time.perf_counter() + seconds, next(iter(load.folders.values()))
    while (left := end - time.perf_counter()) > 0:
        began = time.perf_counter()
        try:
            top = int(call(first, {"op": "status"})["height"])
            beacon = bytes.fromhex(call(first, {"op": "block", "height": top})["beacon"])
            for public, records in load.inferences(max(1, round(rate * GIVE_S)), top, beacon).items():
                put_load(load.folders[public], records)
        except FolkmootError as error:  # that peer is busy: the next load comes later
            print(f"    no load: {error}", flush=True)
        time.sleep(max(0.0, min(left, began + GIVE_S - time.perf_counter())))


def measure(place: Path, peers: int, loaded: bool, options: argparse.Namespace) -> Row:
    """One network from its start to its end."""
    name = "loaded" if loaded else "idle"
    directory = place / f"n{peers}-{name}"
    directory.mkdir()
    accounts = tuple(GenesisAccount(client_key(at).public, CLIENT_BALANCE_MICRO) for at in range(CLIENTS))
    settings = (("expected_size", peers), ("log_level", "warning"))
    folders = generate(Plan(directory, peers, settings=settings, accounts=accounts if loaded else ()))
    try:
        began = time.perf_counter()
        start_all(directory, folders, loaded=loaded)
        time.sleep(max(0.0, began + options.start - time.perf_counter()))
        before = sample(directory, folders)
        say_start(peers, name, before, before.at_s - began)
        begun = sample(directory, folders)
        if loaded:
            give(Load(folders), options.rate, options.seconds)
        else:
            time.sleep(options.seconds)
        after = sample(directory, folders)
    finally:
        stop(directory)
    row = Row(peers, name, after.at_s - begun.at_s, after.height() - begun.height(), after.cpu_s - begun.cpu_s)
    say_row(row, begun, after)
    return row


def say_start(peers: int, name: str, one: Sample, seconds: float) -> None:
    print(
        f"{peers:4} {name:7} first {seconds:3.0f} s: {len(one.status)} answer, height {one.height()}, "
        f"{one.cpu_s / peers:.1f} s CPU a peer, {one.total('connections') / max(len(one.status), 1):.1f} connections; "
        f"{one.total('links', 'dials')} dials ({one.total('links', 'dials_failed')} failed, "
        f"{one.total('links', 'dials_waited')} waited), {one.total('links', 'greetings')} greetings, "
        f"{one.total('links', 'searches')} DHT searches, {one.total('links', 'partners_missing')} missing",
        flush=True,
    )


def say_row(row: Row, before: Sample, after: Sample) -> None:
    ended: Counter[str] = Counter()
    for status in after.status:
        ended.update(status.get("ended", {}))
    memory = statistics.median(after.memory) / _MIB if after.memory else 0
    paces = [int(status["consensus"]["pace_percent"]) for status in after.status]
    strain = [float(status["links"]["strain"]) for status in after.status]
    print(
        f"{row.peers:4} {row.load:7} {row.blocks / row.seconds:6.2f} blocks/s, {row.cpu_s / row.seconds:5.2f} cores, "
        f"{row.cost_ms:7.1f} ms CPU a block and peer, {memory:5.0f} MiB a peer, "
        f"{after.total('connections') / max(len(after.status), 1):4.1f} connections, pace {max(paces, default=0)} %, "
        f"strain {max(strain, default=0):.1f}; ended: {dict(ended) or 'none'}; "
        f"bytes a block and peer: {bytes_by_topic(before, after, row.blocks, row.peers)}", flush=True,
    )


def say_growth(rows: Sequence[Row]) -> None:
    for load in dict.fromkeys(row.load for row in rows):
        a, b = fit([(row.peers, row.cost_ms) for row in rows if row.load == load])
        print(f"{load}: CPU per block and peer = {a:.2f} ms x N^{b:.2f}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench_scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of peers (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--start", type=float, default=60.0, help="seconds from the start to it (default: %(default)s)")
    parser.add_argument("--load", choices=("idle", "loaded", "both"), default="both", help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=5.0, help="inferences a second (default: %(default)s)")
    parser.add_argument("--dir", type=Path, help="where the peers' folders go (default: a temporary folder)")
    options = parser.parse_args(argv)
    kinds = {"idle": (False,), "loaded": (True,), "both": (False, True)}[options.load]
    rows = []
    with tempfile.TemporaryDirectory(prefix="folkmoot-scale-", dir=options.dir) as folder:
        print(f"{os.cpu_count()} cores", flush=True)
        for peers in map(int, options.sizes.split(",")):
            for loaded in kinds:
                try:
                    rows.append(measure(Path(folder), peers, loaded, options))
                except FolkmootError as error:
                    print(f"{peers:4} {'loaded' if loaded else 'idle':7} did not run: {error}", flush=True)
    say_growth(rows)
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
