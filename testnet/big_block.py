"""`make big-block`: four real peers decide a block with 2,000 inferences.

Law: every record goes through outbox, gossip, mempool and consensus.

A small block comes first, then the large one, in the same run. Both are made of the Start, Finish and Output records of
inferences that clients and executors have signed; no engine runs, since it does not matter what was answered. Blocks
come seldom in this network, so that a load gathers as it does where many ask. It prints what was decided, and for how
long each peer's event loop stood still meanwhile, and how long applying took. Exit code 0 when one block has
all inferences and all peers have the same state.

`python -m testnet.big_block [--inferences N] [--dir DIR] [--deaf]`; --deaf: the last peer hears no transactions, so it
must fetch the body of each proposal from its proposer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.genesis import Genesis, GenesisAccount
from p2p.base.keys import Domain, Key, digest
from p2p.base.limits import MAX_RECORDS_PER_TX
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    Record,
    RecordKind,
    Request,
    SignedFinish,
    SignedRequest,
    StartRecord,
)
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.ledger.genesis import first_state
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.context import Context
from p2p.ledger.state.view import View
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.generate import CLIENT_BALANCE_MICRO, Plan, generate
from testnet.loaded import DEAF, DECIDED, put_load
from testnet.processes import fresh_directory, stop, up

PEERS = 4
CLIENTS = 500  # accounts that ask
SMALL = 20  # inferences of the small block
INTERVAL_MS = 12_000  # between two blocks: time for a load to reach every peer
PATIENCE_S = 240.0  # for a height: on a busy machine a peer answers late
OUTPUT = b"\x05" * 32  # the hash that every answer claims


@dataclass(frozen=True, slots=True)
class Seen:
    """One block as one peer saw it, as testnet/loaded.py notes it. Times are milliseconds of the machine's clock.

    A gap is the longest time for which the peer's event loop gave no other task a turn: between proposal and decision
    (voting), or between the decision and the end of applying (applying); by the clock, and of the loop's own CPU.
    """

    height: int
    round: int
    proposed_ms: int
    decided_ms: int
    applied_ms: int
    cpu_ms: int  # of the loop's own thread while it applied; what other tasks did meanwhile is in it
    bytes: int  # of the block
    head_bytes: int  # of the block without its transactions
    txs: int
    refused: int  # records
    fetched: int  # transactions that this peer has fetched so far
    voting_gap_ms: int
    voting_gap_cpu_ms: int
    applying_gap_ms: int
    applying_gap_cpu_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    small: list[Seen]  # the small block as each peer saw it
    big: list[Seen]
    good: bool  # all inferences in one block, nothing refused, one state


class Load:
    """Makes inferences that the chain will accept whole."""

    def __init__(self, folders: list[Path]) -> None:
        self.genesis = unpack(Genesis, (folders[0] / "genesis.cbor").read_bytes())
        self.keys = {key.public: key for key in (Key.load(folder / "node.key") for folder in folders)}
        self.folders = dict(zip(self.keys, folders, strict=True))
        self.nonces: dict[int, int] = defaultdict(int)
        view = View(lambda key: None)
        first_state(view, self.genesis, bytes(32))
        self.serving = WeightedDraw(serving(Context(view, self.genesis, 1), DEFAULT_MODEL))

    def inferences(self, count: int, height: int, beacon: bytes) -> dict[bytes, list[Record]]:
        """Records of `count` inferences drawn at `height` with its beacon, by the peer that publishes them."""
        found: dict[bytes, list[Record]] = {public: [] for public in self.keys}
        agents = list(self.keys)
        for number in range(count):
            at, agent = number % CLIENTS, agents[number % len(agents)]
            self.nonces[at] += 1
            client = client_key(at)
            request = Request(
                VERSION, self.genesis.network, client.public, self.nonces[at], DEFAULT_MODEL, bytes(32), Params(), 50,
                50, 100, height + 300, client.public, height,
            )
            signed = SignedRequest(request, client.sign(Domain.REQUEST, self.genesis.network, encode(request)))
            executor = draw_executors(beacon, signed.inference_id, self.serving, agent, MAX_CANDIDATES)[0]
            done = FinishRecord(signed.inference_id, executor, bytes(32), OUTPUT, 10, 10, FinishReason.STOP)
            finish = SignedFinish(done, self.keys[executor].sign(Domain.FINISH, self.genesis.network, encode(done)))
            found[agent].append(Record(RecordKind.START, encode(StartRecord(signed, agent))))
            found[agent].append(Record(RecordKind.OUTPUT, encode(OutputRecord(signed.inference_id, agent, OUTPUT, 10))))
            found[executor].append(Record(RecordKind.FINISH, encode(finish)))
        return found

    def give(self, count: int) -> tuple[int, int]:
        """Hand `count` inferences to the peers just after a block. Returns (its height, records of the fullest
        peer).
        """
        first = next(iter(self.folders.values()))
        top = wait_height(first, height(first) + 1)
        records = self.inferences(count, top, bytes.fromhex(call(first, {"op": "block", "height": top})["beacon"]))
        for public, some in records.items():
            put_load(self.folders[public], some)
        return top, max(map(len, records.values()))


def client_key(number: int) -> Key:
    """The key of client `number`, the same in every run."""
    return Key(digest(b"big block client", number.to_bytes(4, "big")))


def height(folder: Path) -> int:
    """The height that a peer has. Raises Unavailable."""
    return int(call(folder, {"op": "status"})["height"])


def wait_height(folder: Path, wanted: int) -> int:
    """Wait until a peer has this height; returns the one it has. Raises Unavailable after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            found = height(folder)
            if found >= wanted:
                return found
        except FolkmootError:
            pass
        time.sleep(0.2)
    raise Unavailable(f"{folder.name} did not reach height {wanted} in {PATIENCE_S:.0f} s", field="height")


def seen(folder: Path, at: int) -> Seen:
    """What a peer noted of a block, which it does a moment after applying it. Raises Unavailable."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in (folder / DECIDED).read_text().splitlines():
            found = json.loads(line)
            if found["height"] == at:
                return Seen(**found)
        time.sleep(0.2)
    raise Unavailable(f"{folder.name} noted no block {at}", field="height")


def whole_inferences(folder: Path, at: int) -> int:
    """How many inferences have all three records in this block."""
    kinds: dict[str, set[str]] = defaultdict(set)
    block: dict[str, Any] = call(folder, {"op": "block", "height": at})
    for row in block["records"]:
        kinds[row["inference_id"]].add(row["kind"])
    return sum(found >= {"START", "FINISH", "OUTPUT"} for found in kinds.values())


def run_wave(load: Load, folders: list[Path], count: int) -> tuple[list[Seen], int]:
    """Give a load. Returns (the fullest block after it, as each peer saw it, inferences whole in that block)."""
    before, fullest = load.give(count)
    print(
        f"{count} inferences handed to {len(folders)} peers after block {before}: up to {fullest} records, "
        f"{-(-fullest // MAX_RECORDS_PER_TX)} batches a peer", flush=True,
    )
    at = before + 1
    wait_all(folders, at)
    if whole_inferences(folders[0], at) < count:  # a part of the load came too late for it
        wait_all(folders, at + 1)
        at = max((at, at + 1), key=lambda height: seen(folders[0], height).bytes)
    return [seen(folder, at) for folder in folders], whole_inferences(folders[0], at)


def wait_all(folders: list[Path], wanted: int) -> None:
    """Wait until every peer has this height. Raises Unavailable."""
    for folder in folders:
        wait_height(folder, wanted)


def run(directory: Path, inferences: int, *, interval_ms: int = INTERVAL_MS, deaf: bool = False) -> Result:
    """Start a new network in `directory`, let it decide both blocks, stop it. interval_ms: between two blocks."""
    accounts = tuple(GenesisAccount(client_key(number).public, CLIENT_BALANCE_MICRO) for number in range(CLIENTS))
    settings = (("block_interval_ms", interval_ms), ("empty_block_interval_ms", interval_ms))
    fresh_directory(directory)
    folders = generate(Plan(directory, PEERS, settings=settings, accounts=accounts, epoch_blocks=1000))
    if deaf:
        (folders[-1] / DEAF).touch()
    try:
        up(directory, folders, {}, lambda text: print(text, flush=True), command=("testnet.loaded",))
        return measure(folders, inferences)
    finally:
        stop(directory)


def line(rows: list[Seen], whole: int) -> str:
    """What is printed of a block. whole: inferences whose three records are in it."""
    one = rows[0]
    decided = [row.decided_ms - row.proposed_ms for row in rows]
    applied = [row.applied_ms - row.decided_ms for row in rows]
    return (
        f"block {one.height}: {whole} inferences, {one.txs} batches, {one.bytes / 1024:.0f} KiB, decided in round "
        f"{one.round}; its proposal by gossip about {(one.head_bytes + 34 * one.txs) / 1024:.1f} KiB; from proposal to "
        f"decision {statistics.median(decided):.0f} ms (each: {decided}); applied in {statistics.median(applied):.0f} "
        f"ms (last peer {max(applied)}); refused records: {one.refused}; transactions fetched so far: "
        f"{[row.fetched for row in rows]}\n  {stalls(rows)}"
    )


def stalls(rows: list[Seen]) -> str:
    """For how long each peer's event loop stood still, and what the block took in all."""
    return (
        f"the event loop stood still at most (each peer, ms; in brackets the loop's own CPU): applying "
        f"{[row.applying_gap_ms for row in rows]} ({[row.applying_gap_cpu_ms for row in rows]}) of "
        f"{[row.applied_ms - row.decided_ms for row in rows]} ({[row.cpu_ms for row in rows]}) in all; from proposal "
        f"to decision {[row.voting_gap_ms for row in rows]} ({[row.voting_gap_cpu_ms for row in rows]})"
    )


def measure(folders: list[Path], count: int) -> Result:
    """Decide both blocks, print what was seen of them, compare the peers' states after the large one."""
    load = Load(folders)
    small, few = run_wave(load, folders, SMALL)
    print(line(small, few), flush=True)
    big, many = run_wave(load, folders, count)
    print(line(big, many), flush=True)
    after = big[0].height + 1  # the header that names the state
    wait_all(folders, after)
    hashes = {call(folder, {"op": "block", "height": after})["app_hash"] for folder in folders}
    ratios = [
        span(big, *ends) / max(1.0, span(small, *ends))
        for ends in (("proposed_ms", "decided_ms"), ("decided_ms", "applied_ms"))
    ]
    good = many == count and few == SMALL and len(hashes) == 1 and big[0].refused == 0
    print(
        f"large to small: bytes {big[0].bytes / small[0].bytes:.0f} x, proposal to decision {ratios[0]:.1f} x, "
        f"applying {ratios[1]:.1f} x; the app hash after it is {'the same' if len(hashes) == 1 else 'NOT the same'} on "
        f"all {len(folders)} peers: {', '.join(sorted(hashes))[:80]}; {many} of {count} inferences are in one block: "
        f"{'good' if good else 'NOT GOOD'}", flush=True,
    )
    return Result(small, big, good)


def span(rows: list[Seen], since: str, to: str) -> float:
    """Median time from one field of Seen to another, milliseconds."""
    return float(statistics.median(getattr(row, to) - getattr(row, since) for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet.big_block", description=__doc__)
    parser.add_argument("--inferences", type=int, default=2000, help="of the large block (default: %(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(".testnet/big-block"), help="of the network")
    parser.add_argument("--deaf", action="store_true", help="the last peer hears no transactions and must fetch them")
    options = parser.parse_args()
    try:
        return 0 if run(options.dir.resolve(), options.inferences, deaf=options.deaf).good else 1
    except FolkmootError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
