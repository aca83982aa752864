"""`make big-block`: four real peers decide a block with 2,000 inferences. Law: every record goes outbox, gossip, mempool, consensus.

A small block first, then the large one, in the same run; both are made of the Start, Finish and Output records of inferences that
clients and executors have signed (no engine: what was answered does not matter here). Blocks come seldom in this network, so that a load
gathers as it does where many ask. Prints what was decided, and how long each peer's event loop stood still meanwhile, beside the time of
applying in the same run; exits 0 when one block has all inferences and all peers have the same state.
--deaf: the last peer hears no transactions and must fetch the body of each proposal from who made it.
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
from p2p.base.limits import MAX_CANDIDATES, MAX_RECORDS_PER_TX
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
from testnet.providers import fresh_directory, stop, up

PEERS = 4
CLIENTS = 500
SMALL = 20
INTERVAL_MS = 12_000  # between two blocks: time for a load to reach everybody
PATIENCE_S = 240.0
OUTPUT = b"\x05" * 32


@dataclass(frozen=True, slots=True)
class Seen:
    """One block as one peer saw it; times in milliseconds of the machine's clock. A gap: the longest that its event loop gave no other
    task a turn, between proposal and decision (voting) or between decision and its end (applying)."""

    height: int
    round: int
    proposed_ms: int
    decided_ms: int
    applied_ms: int
    cpu_ms: int  # of the loop's own thread, from decision to the end of applying; what other tasks did meanwhile is in it
    bytes: int
    head_bytes: int
    txs: int
    refused: int
    fetched: int
    voting_gap_ms: int
    voting_gap_cpu_ms: int
    applying_gap_ms: int
    applying_gap_cpu_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """Both blocks as each peer saw them; good: all in one block, nothing refused, one state."""

    small: list[Seen]
    big: list[Seen]
    good: bool


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
        """Records for each peer, drawn at `height`."""
        found: dict[bytes, list[Record]] = {public: [] for public in self.keys}
        agents = list(self.keys)
        for number in range(count):
            at, agent = number % CLIENTS, agents[number % len(agents)]
            self.nonces[at] += 1
            client = client_key(at)
            request = Request(
                VERSION, self.genesis.network, client.public, self.nonces[at], DEFAULT_MODEL, bytes(32), Params(), 50, 50, 100, height + 300,
                client.public, height,
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
        """Hand `count` inferences to the peers just after a block. (height before, records of the fullest peer)."""
        first = next(iter(self.folders.values()))
        top = wait_height(first, height(first) + 1)
        records = self.inferences(count, top, bytes.fromhex(call(first, {"op": "block", "height": top})["beacon"]))
        for public, some in records.items():
            put_load(self.folders[public], some)
        return top, max(map(len, records.values()))


def client_key(number: int) -> Key:
    return Key(digest(b"big block client", number.to_bytes(4, "big")))


def height(folder: Path) -> int:
    return int(call(folder, {"op": "status"})["height"])


def wait_height(folder: Path, wanted: int) -> int:
    """Patient: on a busy machine a peer answers late."""
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
    """A peer notes a block a moment after it has applied it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in (folder / DECIDED).read_text().splitlines():
            found = json.loads(line)
            if found["height"] == at:
                return Seen(**found)
        time.sleep(0.2)
    raise Unavailable(f"{folder.name} noted no block {at}", field="height")


def whole_inferences(folder: Path, at: int) -> int:
    """Inferences whose three records are all in this block."""
    kinds: dict[str, set[str]] = defaultdict(set)
    block: dict[str, Any] = call(folder, {"op": "block", "height": at})
    for row in block["records"]:
        kinds[row["inference_id"]].add(row["kind"])
    return sum(found >= {"START", "FINISH", "OUTPUT"} for found in kinds.values())


def run_wave(load: Load, folders: list[Path], count: int) -> tuple[list[Seen], int]:
    """(the fullest block after the load, as each peer saw it, inferences whole in it)."""
    before, fullest = load.give(count)
    print(f"{count} inferences handed to {len(folders)} peers after block {before}: up to {fullest} records, "
          f"{-(-fullest // MAX_RECORDS_PER_TX)} batches a peer", flush=True)
    for folder in folders:
        wait_height(folder, before + 2)
    at = max((before + 1, before + 2), key=lambda h: seen(folders[0], h).bytes)
    if at == before + 2:
        for folder in folders:
            wait_height(folder, at + 1)  # the header after it names the state
    return [seen(folder, at) for folder in folders], whole_inferences(folders[0], at)


def run(directory: Path, inferences: int, *, interval_ms: int = INTERVAL_MS, deaf: bool = False) -> Result:
    """A new network in `directory`, both blocks, and its end."""
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
    one = rows[0]
    decided = [row.decided_ms - row.proposed_ms for row in rows]
    applied = [row.applied_ms - row.decided_ms for row in rows]
    return (
        f"block {one.height}: {whole} inferences, {one.txs} batches, {one.bytes / 1024:.0f} KiB, decided in round {one.round}; its proposal by "
        f"gossip about {(one.head_bytes + 34 * one.txs) / 1024:.1f} KiB; from proposal to decision {statistics.median(decided):.0f} ms (each: "
        f"{decided}); applied in {statistics.median(applied):.0f} ms (last peer {max(applied)}); refused records: {one.refused}; transactions "
        f"fetched so far: {[row.fetched for row in rows]}\n  {standing(rows)}"
    )


def standing(rows: list[Seen]) -> str:
    """How long each peer's event loop stood still, beside what the block took in all."""
    return (
        f"the event loop stood still at most (each peer, ms; in brackets the loop's own CPU): applying "
        f"{[row.applying_gap_ms for row in rows]} ({[row.applying_gap_cpu_ms for row in rows]}) of "
        f"{[row.applied_ms - row.decided_ms for row in rows]} ({[row.cpu_ms for row in rows]}) in all; from proposal to decision "
        f"{[row.voting_gap_ms for row in rows]} ({[row.voting_gap_cpu_ms for row in rows]})"
    )


def measure(folders: list[Path], count: int) -> Result:
    load = Load(folders)
    small, few = run_wave(load, folders, SMALL)
    print(line(small, few), flush=True)
    big, many = run_wave(load, folders, count)
    print(line(big, many), flush=True)
    hashes = {call(folder, {"op": "block", "height": big[0].height + 1})["app_hash"] for folder in folders}
    ratios = [span(big, *ends) / max(1.0, span(small, *ends)) for ends in (("proposed_ms", "decided_ms"), ("decided_ms", "applied_ms"))]
    good = many == count and few == SMALL and len(hashes) == 1 and big[0].refused == 0
    print(
        f"large to small: bytes {big[0].bytes / small[0].bytes:.0f} x, proposal to decision {ratios[0]:.1f} x, applying {ratios[1]:.1f} x; the app "
        f"hash after it is {'the same' if len(hashes) == 1 else 'NOT the same'} on all {len(folders)} peers: {', '.join(sorted(hashes))[:80]}; "
        f"{many} of {count} inferences are in one block: {'good' if good else 'NOT GOOD'}", flush=True,
    )
    return Result(small, big, good)


def span(rows: list[Seen], since: str, to: str) -> float:
    return float(statistics.median(getattr(row, to) - getattr(row, since) for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet.big_block", description=__doc__)
    parser.add_argument("--inferences", type=int, default=2000)
    parser.add_argument("--dir", type=Path, default=Path(".testnet/big-block"))
    parser.add_argument("--deaf", action="store_true", help="the last peer hears no transactions")
    options = parser.parse_args()
    try:
        return 0 if run(options.dir.resolve(), options.inferences, deaf=options.deaf).good else 1
    except FolkmootError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
