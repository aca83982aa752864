"""`make bench-ledger`: what applying inferences costs, compared with the raw rate of Ed25519 verification on the same
core.

It prints and asserts nothing. Blocks are real, on a real chain, one after the other. Block h starts a wave of
inferences, finishes and reports those of block h - 1, and draws the committees of the ones before. Measured is what
every peer does with a decided block: `validate` (form and signature of each batch) and `finalize` (signatures of
clients and executors, the rules, the state tree, one fsynced write). Making the requests is not measured.

An inference is three records (Start, Finish, Output) and needs two signatures and a share of its batches'; a Start
alone needs one. Goal: 0.25 of the raw rate. CPU time counts. The clock's time, in brackets, also waits for the disk and
for other processes.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, NetworkId, digest, signing_bytes, verify_raw
from p2p.base.limits import MAX_BLOCK, MAX_RECORDS_PER_TX
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import (
    VERSION,
    Batch,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    Record,
    RecordKind,
    Request,
    SignedBatch,
    SignedFinish,
    SignedRequest,
    StartRecord,
    _inference_id,
)
from p2p.base.weighted_draw import draw_executors
from p2p.chain.chain import Chain
from p2p.chain.stores.guard import GuardStore
from p2p.consensus.certificates import commit_certificate
from p2p.consensus.header import HEADER_ROOM, make_block
from p2p.consensus.messages import Block, Vote, VoteType, sign_vote
from p2p.ledger.state import tree
from p2p.ledger.state.records import Account
from p2p.store.batch import Batch as Writes
from p2p.store.lmdb import Store
from tests.chains import next_priorities

PEERS = [Key(digest(b"bench peer", bytes([i]))) for i in range(16)]
CLIENTS = 500  # accounts that ask; the others only stand in the state
NAME, MODEL = "bench", "m"
GOAL = 0.25


def raw_verify(seconds: float = 1.0) -> float:
    """Ed25519 verifications per second of CPU on this core, measured for `seconds`."""
    key, body = PEERS[0], bytes(180)
    message = signing_bytes(Domain.REQUEST, NetworkId(NAME), body)
    signature = key.sign(Domain.REQUEST, NetworkId(NAME), body)
    count, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        verify_raw(key.public, message, signature)
        count += 1
    return count / (time.process_time() - started)


class Bench:
    """A chain with `accounts` accounts, and the waves of inferences that it is given."""

    def __init__(self, folder: Path, accounts: int) -> None:
        self.clients = [Key(digest(b"bench client", i.to_bytes(4, "big"))) for i in range(min(CLIENTS, accounts))]
        genesis = Genesis(
            VERSION, NAME, 0, tuple(GenesisPeer(k.public, digest(b"owner", k.public), 10, (MODEL,)) for k in PEERS),
            tuple(GenesisAccount(k.public, 10**12) for k in self.clients),
            (ModelSpec(MODEL, bytes(32), bytes(32), "bfloat16", 10, 1, 2048),), epoch_blocks=10**6,
        )
        store = Store(folder / "data")
        self.chain = Chain(store, GuardStore(store, folder / "used"), genesis)
        self.asked = 0
        self.waves: list[list[tuple[SignedRequest, bytes, Key]]] = [[]]
        self._fill(accounts - len(self.clients))

    def _fill(self, more: int) -> None:
        """Put `more` accounts into state and tree in one write: a genesis file would be too long."""
        raw, chain = encode(Account(10**6)), self.chain
        changes: dict[bytes, bytes | None] = {
            b"acct/" + digest(b"idle", i.to_bytes(4, "big")): raw for i in range(more)
        }
        root, pages = tree.update(lambda position: chain.store.read("tree", position), changes)
        batch = Writes()
        for database, content in (("state", changes), ("tree", pages)):
            for key in sorted(content):
                batch.put(database, key, content[key])
        chain.become(replace(chain.state.tip, app_hash=tree.app_hash(root)), batch)

    def block(self, inferences: int, finishing: bool = True) -> Block:
        """The next block: one batch of each peer with the records of a wave of inferences.

        It starts `inferences` of them and, if `finishing`, finishes and reports those of the wave before.
        """
        chain, height = self.chain, self.chain.height() + 1
        records: dict[bytes, list[Record]] = {key.public: [] for key in PEERS}
        beacon, serving = chain.beacon(), chain.reader.serving_at(MODEL, height - 1)
        started = []
        for signed, executor, agent in self.waves[-1] if finishing else ():
            done = FinishRecord(signed.inference_id, executor, bytes(32), b"\x05" * 32, 10, 10, FinishReason.STOP)
            key = next(key for key in PEERS if key.public == executor)
            finish = SignedFinish(done, key.sign(Domain.FINISH, chain.genesis.network, encode(done)))
            records[executor].append(Record(RecordKind.FINISH, encode(finish)))
            records[agent.public].append(
                Record(RecordKind.OUTPUT, encode(OutputRecord(signed.inference_id, agent.public, b"\x05" * 32, 10)))
            )
        for _ in range(inferences if height > 1 else 0):
            client, agent = self.clients[self.asked % len(self.clients)], PEERS[self.asked % len(PEERS)]
            self.asked += 1
            request = Request(
                VERSION, chain.genesis.network, client.public, self.asked, MODEL, bytes(32), Params(), 50, 50, 100,
                height + 300, client.public,
                height - 1,
            )
            signed = SignedRequest(request, client.sign(Domain.REQUEST, chain.genesis.network, encode(request)))
            records[agent.public].append(Record(RecordKind.START, encode(StartRecord(signed, agent.public))))
            started.append(
                (signed, draw_executors(beacon, signed.inference_id, serving, agent.public, MAX_CANDIDATES)[0], agent)
            )
        self.waves.append(started)
        for key in PEERS:
            some = tuple(records[key.public])
            assert len(some) <= MAX_RECORDS_PER_TX
            if some:
                batch = Batch(
                    VERSION, chain.genesis.network, key.public, chain.reader.batch_nonce(key.public) + 1, some,
                )
                chain.pool.add(encode(SignedBatch(batch, key.sign(Domain.TX, chain.genesis.network, encode(batch)))))
        block = make_block(chain, PEERS[0], chain.genesis.network, 0, height, ())
        assert len(block.txs) == sum(map(bool, records.values())), "a batch did not fit"
        return block

    def decide(self, block: Block) -> tuple[float, float]:
        """Validate and apply a block. Returns seconds (of CPU, by the clock)."""
        chain, at = self.chain, block.header.height
        votes = [
            sign_vote(k, Vote(chain.genesis.network, VoteType.PRECOMMIT, at, 0, block.block_id, -1, k.public))
            for k in PEERS
        ]
        commit, priorities = commit_certificate(votes, at, 0, block.block_id), next_priorities(chain)
        # a peer that sees the block for the first time has neither the ids nor these very objects at hand
        _inference_id.cache_clear()
        block = unpack(Block, encode(block))
        cpu, clock = time.process_time(), time.perf_counter()
        assert chain.validate(block)
        chain.finalize(block, commit, priorities)
        spent = time.process_time() - cpu, time.perf_counter() - clock
        assert chain.blocks.receipts(at) == (), "a record was refused"
        return spent


def measure(accounts: int, records: int, profile: bool) -> float:
    """Measure and print one line. Returns microseconds of CPU for one inference."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as folder:
        started = time.perf_counter()
        bench = Bench(Path(folder), accounts)
        prepared = time.perf_counter() - started
        wave = max(1, min(records // 3, 200))
        for _ in range(3):
            bench.decide(bench.block(wave))  # from here on each block starts, finishes and draws
        cpu = clock = 0.0
        blocks = max(1, records // 3 // wave)
        made = [0]
        raw = raw_verify()
        profiler = cProfile.Profile()
        for _ in range(blocks):
            block = bench.block(wave)
            made.append(len(encode(block)))
            if profile:
                profiler.enable()
            spent = bench.decide(block)
            profiler.disable()
            cpu, clock = cpu + spent[0], clock + spent[1]
        bench.decide(bench.block(1, finishing=False))
        alone = sum(bench.decide(bench.block(wave, finishing=False))[0] for _ in range(blocks))
        bench.chain.close()
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
    done = blocks * wave
    rate, ratio, starts = done / cpu, done / cpu / raw, done / alone
    print(
        f"{accounts:>9} accounts (prepared in {prepared:6.1f} s): {rate:7.0f} inferences, {3 * rate:7.0f} records a "
        f"second of CPU; raw verify {raw:7.0f}; ratio {ratio:.3f} per inference, {3 * ratio:.3f} per record; "
        f"{cpu / done * 1e6:6.0f} us each ({clock / done * 1e6:.0f} us by the clock); blocks of {wave}, "
        f"{max(made) / 1024:.0f} KiB; Start records alone (one client signature each): {starts:.0f} a second, ratio "
        f"{starts / raw:.3f}; goal {GOAL}: per inference {'met' if ratio >= GOAL else 'MISSED'}, Start alone "
        f"{'met' if starts / raw >= GOAL else 'MISSED'}", flush=True,
    )
    return cpu / done * 1e6


def capacity() -> None:
    """Print how many inferences (Start, Finish and Output) fit into a block."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as folder:
        bench = Bench(Path(folder), 1000)
        for _ in range(3):
            bench.decide(bench.block(100))
        size = sum(map(len, bench.block(100).txs))
        bench.chain.close()
    each, room = size / 100, MAX_BLOCK - HEADER_ROOM
    print(
        f"Start + Finish + Output: {each:.0f} bytes an inference, batches of {len(PEERS)} peers; {room / each:.0f} fit "
        f"into the {room // 1024} KiB of a block's transactions (MAX_BLOCK {MAX_BLOCK // 1024} KiB); 2000 need "
        f"{2000 * each / 1024:.0f} KiB", flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench_ledger", description=__doc__)
    parser.add_argument("--accounts", default="1000,100000,1000000", help="sizes of the state (default: %(default)s)")
    parser.add_argument(
        "--records", type=int, default=6000, help="records to apply at each size (default: %(default)s)",
    )
    parser.add_argument("--profile", action="store_true", help="print where the time goes; slower")
    options = parser.parse_args()
    capacity()
    sizes = [int(size) for size in options.accounts.split(",")]
    costs = [measure(size, options.records, options.profile) for size in sizes]
    if len(sizes) > 1:
        print(
            f"from {sizes[0]} to {sizes[-1]} accounts the cost grows {costs[-1] / costs[0]:.2f} times (log of the "
            f"sizes: {math.log(sizes[-1]) / math.log(sizes[0]):.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
