"""A peer with a load: `python -m testnet.loaded`, as `folkmoot serve` but for two things. Law: records enter by the outbox, as an agent's do.

A file DIR/load.cbor, [[kind, body], ...], is put into the outbox record by record and removed. What was decided is noted in
DIR/decided.jsonl, a line a block: when this peer knew that it is decided, and when it had applied it (milliseconds of the clock).
With a file DIR/deaf it takes no transaction into its mempool, so it has to fetch the body of every block.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from pathlib import Path

import trio
from msgspec.structs import replace

from p2p.codec import decode, encode
from p2p.config import load_config
from p2p.consensus.messages import Block, CommitCertificate
from p2p.errors import Overloaded
from p2p.ledger.records import Receipt
from p2p.node import Node, run_node
from p2p.types import Record, RecordKind

LOAD, DECIDED, DEAF = "load.cbor", "decided.jsonl", "deaf"
POLL_S = 0.05


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


async def note_decisions(node: Node) -> None:
    """Stands between consensus and chain, and looks at the clock on both sides."""
    finalize = node.chain.finalize

    def timed(block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        decided = now_ms()
        finalize(block, commit, priorities)
        refused: tuple[Receipt, ...] = node.chain.receipts(block.header.height)
        line = {
            "height": block.header.height, "round": commit.round, "proposed_ms": block.header.time_ms, "decided_ms": decided,
            "applied_ms": now_ms(), "bytes": len(encode(block)), "head_bytes": len(encode(replace(block, txs=()))), "txs": len(block.txs),
            "refused": len(refused), "fetched": node.consensus.fetched,
        }
        with (node.config.directory / DECIDED).open("a") as out:
            out.write(json.dumps(line) + "\n")

    node.chain.finalize = timed  # type: ignore[method-assign]
    await trio.sleep_forever()


TASKS = (note_decisions, take_load, hear_nothing)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet.loaded", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--bootstrap", action="append", default=[], metavar="MULTIADDR")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    config = load_config(options.dir, bootstrap=tuple(options.bootstrap))

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
