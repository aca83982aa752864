"""Applies the blocks of a run again, on another store.

Law: a peer that applies them later computes the same app hash at every height; each header holds the one before it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from p2p.base.codec import load
from p2p.base.genesis import Genesis
from p2p.chain.chain import Chain
from p2p.chain.stores import snapshots
from p2p.chain.stores.guard import GuardStore
from p2p.chain.sync_server import check_snapshot, install
from p2p.ledger.state.snapshot import open_chunk
from p2p.store.keys import GENESIS
from p2p.store.lmdb import Store
from tests.chains import next_priorities
from tests.ledger.soak.watch import Violation


def plain(folder: Path, genesis: Genesis) -> Chain:
    store = Store(folder / "data")
    return Chain(store, GuardStore(store, folder / "used"), genesis)


def from_snapshot(chain: Chain, height: int, folder: Path) -> None:
    """Make a new store from `chain`'s snapshot of `height`, as a peer that joins late does.

    Block `height` + 1 must exist. Raises Violation where there is no snapshot.
    """
    manifest, at = snapshots.manifest(chain.store, height), chain.blocks.light_block(height)
    after = chain.blocks.header(height + 1)
    if manifest is None or at is None or after is None:
        raise Violation(f"height {height}: no snapshot of an epoch's end")
    check_snapshot(manifest, at, after)
    chunks = [snapshots.chunk(chain.store, height, index) for index in range(len(manifest.chunks))]
    pairs = [pair for index, raw in enumerate(chunks) for pair in open_chunk(raw or b"", manifest, index)]
    joined = plain(folder, chain.genesis)
    install(joined, manifest, pairs, at)
    joined.close()


def replay(source: Path, target: Path) -> str:
    """Apply all blocks of the store in `source` to the one in `target`. Returns 'height apphash'. Raises Violation."""
    genesis = _genesis(source)
    first, chain = plain(source, genesis), plain(target, genesis)
    try:
        while chain.height() < first.height():
            found = first.blocks.block(chain.height() + 1)
            assert found is not None
            block, commit = found
            if block.header.app_hash != chain.app_hash():
                raise Violation(f"height {chain.height()}: another app hash than in the first run")
            if not chain.validate(block):
                raise Violation(f"height {block.header.height}: the block is not accepted a second time")
            chain.finalize(block, commit, next_priorities(chain))
            if chain.blocks.receipts(chain.height()) != first.blocks.receipts(chain.height()):
                raise Violation(f"height {chain.height()}: other receipts than in the first run")
        return f"{chain.height()} {chain.app_hash().hex()}"
    finally:
        chain.close()
        first.close()


def _genesis(folder: Path) -> Genesis:
    store = Store(folder / "data")
    raw = store.read("meta", GENESIS)
    store.close()
    assert raw is not None
    return load(Genesis, raw)


def replay_in_process(source: Path, target: Path, hash_seed: int) -> str:
    """`replay` in another process, where sets of strings have another order. Raises Violation."""
    command = [sys.executable, "-m", "tests.ledger.soak", "--replay", str(source), str(target)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": str(hash_seed)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Violation(f"{' '.join(command)} with PYTHONHASHSEED={hash_seed}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
