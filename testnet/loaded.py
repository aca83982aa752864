"""A peer with a load: `python -m testnet.loaded`, as `folkmoot serve` but for two things. Law: records enter by the outbox, as an agent's do.

A file DIR/load.cbor, [[kind, body], ...], is put into the outbox record by record and removed. What was decided is noted in
DIR/decided.jsonl, a line a block: when this peer knew that it is decided, and when it had applied it (milliseconds of the clock); and how
long its event loop stood still at most, meanwhile and between proposal and decision, as a heartbeat among the other tasks saw it.
With a file DIR/deaf it takes no transaction into its mempool, so it has to fetch the body of every block.
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
POLL_S = 0.05
BEAT_S = 0.002
BEATS = 30_000  # remembered: of a minute at most


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def put_load(folder: Path, records: list[Record]) -> None:
    """For the runner: give a running peer its records, all at once."""
    scratch = folder / (LOAD + ".new")
    scratch.write_bytes(encode([[int(record.kind), record.body] for record in records]))
    scratch.rename(folder / LOAD)


async def take_load(node: Node) -> None:
    file = node.config.directory / LOAD
    while True:
        await trio.sleep(POLL_S)
        if file.exists():
            for kind, body in decode(file.read_bytes(), limit=64 << 20):
                node.outbox.put_record(Record(RecordKind(kind), body))
            file.unlink()


async def hear_nothing(node: Node) -> None:
    def lose(raw: bytes) -> None:
        raise Overloaded("this peer is deaf", field="transaction")

    if (node.config.directory / DEAF).exists():
        node.chain.add_tx = lose  # type: ignore[method-assign]
    await trio.sleep_forever()


@dataclass(frozen=True, slots=True)
class Beat:
    """A turn of the heartbeat: the clock, and CPU time of the loop's own thread; a machine with other work takes time away, never CPU."""

    at_ms: float
    cpu_ms: float


class Decisions:
    """Stands between consensus and chain, and looks at the clock on both sides."""

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
        refused: tuple[Receipt, ...] = self.node.chain.receipts(block.header.height)
        self.waiting.append({
            "height": block.header.height, "round": commit.round, "proposed_ms": block.header.time_ms, "decided_ms": round(since.at_ms),
            "applied_ms": round(now.at_ms), "cpu_ms": round(now.cpu_ms - since.cpu_ms), "bytes": len(encode(block)),
            "head_bytes": len(encode(replace(block, txs=()))), "txs": len(block.txs), "refused": len(refused),
            "fetched": self.node.consensus.fetched,
        })

    async def run(self) -> None:
        while True:
            await trio.sleep(BEAT_S)
            self.beats.append(beat())
            for line in self.waiting:
                spans = {"voting": (line["proposed_ms"], line["decided_ms"]), "applying": (line["decided_ms"], line["applied_ms"])}
                for name, span in spans.items():
                    line[f"{name}_gap_ms"], line[f"{name}_gap_cpu_ms"] = gap(list(self.beats), *span)
                with (self.node.config.directory / DECIDED).open("a") as out:
                    out.write(json.dumps(line) + "\n")
            self.waiting.clear()


def beat() -> Beat:
    return Beat(time.time_ns() / 1e6, time.thread_time_ns() / 1e6)


def gap(beats: list[Beat], since_ms: float, to_ms: float) -> tuple[int, int]:
    """The longest that nobody else had a turn within this time: by the clock, and of the loop's own CPU."""
    pairs = [(one, two) for one, two in pairwise(beats) if two.at_ms >= since_ms and one.at_ms <= to_ms]
    return round(max((two.at_ms - one.at_ms for one, two in pairs), default=0.0)), round(
        max((two.cpu_ms - one.cpu_ms for one, two in pairs), default=0.0)
    )


async def note_decisions(node: Node) -> None:
    await Decisions(node).run()


TASKS = (note_decisions, take_load, hear_nothing)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet.loaded", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--bootstrap", action="append", default=[], metavar="MULTIADDR")
    options = parser.parse_args()
    config = load_config(options.dir, bootstrap=tuple(options.bootstrap))
    keep_private()
    logs.configure(options.dir / "log", config.log_level, config.log_format)

    async def run() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: run_node(config, lambda state, text: print(state, text, flush=True), beside=TASKS))
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    return

    trio.run(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
