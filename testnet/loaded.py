"""`python -m testnet.loaded`: a peer as `folkmoot serve` runs it, which also takes a load and notes what it decides.

Law: records enter by the outbox, as an agent's do.

DIR/load.cbor, [[kind, body], ...], is put into the outbox record by record and removed. DIR/decided.jsonl gets a line
for each block: when this peer knew that it is decided and when it had applied it (milliseconds of the clock), and for
how long at most its event loop stood still before and after the decision, as a heartbeat among the other tasks saw it.
With --load-only it notes nothing, so what it costs is what a peer costs. With a file DIR/deaf the peer takes no
transaction into its mempool, so it has to fetch the body of every block.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from p2p.base.codec import decode, encode
from p2p.base.errors import Overloaded
from p2p.base.files import keep_private
from p2p.base.resumable import Resumable
from p2p.base.types import Record, RecordKind
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.state.records import Receipt
from p2p.machine import logs
from p2p.peer.config import load_config
from p2p.peer.node import Node, run_node

LOAD, DECIDED, DEAF = "load.cbor", "decided.jsonl", "deaf"
POLL_S = 0.05  # between two looks for a load
BEAT_S = 0.002  # between two heartbeats
BEATS = 30_000  # heartbeats that are remembered: a minute


def put_load(folder: Path, records: list[Record]) -> None:
    """Give a running peer its records, all at once (for the runner of the network)."""
    scratch = folder / (LOAD + ".new")
    scratch.write_bytes(encode([[int(record.kind), record.body] for record in records]))
    scratch.rename(folder / LOAD)


async def take_load(node: Node) -> None:
    """Put each load into the outbox as soon as it is there."""
    file = node.config.directory / LOAD
    while True:
        await trio.sleep(POLL_S)
        if file.exists():
            for kind, body in decode(file.read_bytes(), limit=64 << 20):
                node.outbox.put_record(Record(RecordKind(kind), body))
            file.unlink()


async def hear_nothing(node: Node) -> None:
    """Where DIR/deaf is, refuse every transaction."""
    def lose(raw: bytes) -> None:
        raise Overloaded("this peer is deaf", field="transaction")

    if (node.config.directory / DEAF).exists():
        node.chain.pool.add = lose  # type: ignore[method-assign]
    await trio.sleep_forever()


@dataclass(frozen=True, slots=True)
class Beat:
    """One turn of the heartbeat. Other work of the machine costs the loop time by the clock, but no CPU."""

    at_ms: float  # by the clock
    cpu_ms: float  # CPU time of the loop's own thread


class Decisions:
    """Stands between consensus and chain and notes the time before and after each decision."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.beats: deque[Beat] = deque(maxlen=BEATS)
        self.begun: Beat | None = None
        self.waiting: list[dict[str, Any]] = []  # lines that wait for the heartbeat after them
        self.execute, self.finalize = node.chain.execute, node.chain.finalize
        node.chain.execute, node.chain.finalize = self.timed_execute, self.timed_finalize  # type: ignore[method-assign]

    def timed_execute(self, block: Block, priorities: bytes) -> Resumable[None]:
        self.begun = beat()
        yield from self.execute(block, priorities)

    def timed_finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        since = self.begun or beat()
        self.finalize(block, commit, priorities)
        now = beat()
        refused: tuple[Receipt, ...] = self.node.chain.blocks.receipts(block.header.height)
        self.waiting.append({
            "height": block.header.height, "round": commit.round, "proposed_ms": block.header.time_ms,
            "decided_ms": round(since.at_ms),
            "applied_ms": round(now.at_ms), "cpu_ms": round(now.cpu_ms - since.cpu_ms), "bytes": len(encode(block)),
            "head_bytes": len(encode(replace(block, txs=()))), "txs": len(block.txs), "refused": len(refused),
            "fetched": self.node.consensus.fetched,
        })

    async def run(self) -> None:
        while True:
            await trio.sleep(BEAT_S)
            self.beats.append(beat())
            for line in self.waiting:
                spans = {
                    "voting": (line["proposed_ms"], line["decided_ms"]),
                    "applying": (line["decided_ms"], line["applied_ms"])
                }
                for name, span in spans.items():
                    line[f"{name}_gap_ms"], line[f"{name}_gap_cpu_ms"] = gap(list(self.beats), *span)
                with (self.node.config.directory / DECIDED).open("a") as out:
                    out.write(json.dumps(line) + "\n")
            self.waiting.clear()


def beat() -> Beat:
    """The time now."""
    return Beat(time.time_ns() / 1e6, time.thread_time_ns() / 1e6)


def gap(beats: list[Beat], since_ms: float, to_ms: float) -> tuple[int, int]:
    """The longest time between two heartbeats in this span: (milliseconds by the clock, of the loop's own CPU)."""
    pairs = [(one, two) for one, two in pairwise(beats) if two.at_ms >= since_ms and one.at_ms <= to_ms]
    clock = max((two.at_ms - one.at_ms for one, two in pairs), default=0.0)
    cpu = max((two.cpu_ms - one.cpu_ms for one, two in pairs), default=0.0)
    return round(clock), round(cpu)


async def note_decisions(node: Node) -> None:
    """Write DIR/decided.jsonl."""
    await Decisions(node).run()


TASKS = (note_decisions, take_load, hear_nothing)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet.loaded", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the peer's folder")
    parser.add_argument(
        "--bootstrap", action="append", default=[], metavar="MULTIADDR", help="a peer to begin with; may be repeated",
    )
    parser.add_argument("--load-only", action="store_true", help="take loads, and note nothing: no heartbeat runs")
    options = parser.parse_args()
    tasks = (take_load,) if options.load_only else TASKS
    config = load_config(options.dir, bootstrap=tuple(options.bootstrap))
    keep_private()
    logs.configure(options.dir / "log", config.log_level, config.log_format)

    async def run() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    lambda: run_node(config, lambda state, text: print(state, text, flush=True), load=tasks)
                )
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    return

    trio.run(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
