"""The chain of one peer: its decided blocks and the state after them.

Law: block, state, app hash and receipts are written in one transaction.

`Chain` implements consensus' Application protocol and holds the parts that other rooms use: what the state says
(`reader`), transactions on their way into a block (`pool`), requests taken here (`reservations`), decided blocks
(`blocks`), `payloads`, and `answers` to queries. Executing a block is resumable work that nobody sees before
`finalize`, so its driver may let other tasks run in its pauses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from p2p.base.codec import encode, load
from p2p.base.errors import ConfigError, FolkmootError, LocalProtocolError
from p2p.base.genesis import Genesis
from p2p.base.resumable import Resumable, run_to_end
from p2p.chain.answers import Answers
from p2p.chain.execution import ExecutedBlock, begin, execute_block
from p2p.chain.reader import Reader
from p2p.chain.reservations import Reservations
from p2p.chain.state import ChainState, Tip
from p2p.chain.stores import archive
from p2p.chain.stores.blocks import BlockStore, keep_set
from p2p.chain.stores.guard import GuardStore
from p2p.chain.stores.payloads import Payloads
from p2p.chain.transaction_fates import Fate
from p2p.chain.tx_pool import TxPool
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.participants.validator_sets import Members, members
from p2p.ledger.state import keys
from p2p.store.batch import Batch
from p2p.store.keys import GENESIS, TIP
from p2p.store.lmdb import Store


class Chain:
    """keep_for: the node whose inferences' records are kept after they left the state; None: all records are kept."""

    def __init__(self, store: Store, guard: GuardStore, genesis: Genesis, keep_for: bytes | None = None) -> None:
        self.store, self.guard, self.genesis, self._keep_for = store, guard, genesis, keep_for
        raw = store.read("meta", TIP)
        self.state = ChainState(store, genesis, load(Tip, raw) if raw else begin(store, genesis))
        self.reader = Reader(self.state)
        self.pool = TxPool(self.state)
        self.reservations = Reservations(self.state, self.reader.escrow_micro, self.pool.operation_waits)
        self.blocks = BlockStore(store)
        self.payloads = Payloads(store)
        self.answers = Answers(
            self.state, self.reader, self.pool, self.reservations, self.blocks, self.payloads
        )
        # agent, inference, field, height: a Start that a block refused
        self.on_refused_start: Callable[[bytes, bytes, str, int], None] = lambda agent, inference_id, what, height: None
        self._executed: ExecutedBlock | None = None  # `execute` has done it, `finalize` has not come yet

    @classmethod
    def open(
        cls, directory: Path, genesis: Genesis, *, keep_for: bytes | None = None, allow_missing_guard: bool = False
    ) -> Chain:
        """Open DIR/data. Raises StorageError (locked, full, guard missing) or ConfigError (another genesis)."""
        store = Store(directory / "data")
        try:
            known = store.read("meta", GENESIS)
            if known is not None and known != encode(genesis):
                raise ConfigError(f"{directory} belongs to another network or genesis", field="genesis")
            guard = GuardStore(store, directory / "node.key.used", allow_missing=allow_missing_guard)
            return cls(store, guard, genesis, keep_for)
        except FolkmootError:
            store.close()
            raise

    def close(self) -> None:
        self.store.close()

    # -- Application: where the chain stands ------------------------------------------------------------------------

    def height(self) -> int:
        return self.state.tip.height

    def app_hash(self) -> bytes:
        return self.state.tip.app_hash

    def beacon(self) -> bytes:
        return self.state.tip.beacon

    def last_block_id(self) -> bytes:
        return self.state.tip.block_id

    def last_commit(self) -> CommitCertificate | None:
        return self.state.tip.commit

    def last_time_ms(self) -> int:
        return self.state.tip.time_ms

    def priorities(self) -> bytes:
        return self.state.read(keys.PRIORITIES) or b""

    def validators(self) -> Members:
        """(key, weight) of the set that decides height()+1."""
        return self.state.members

    def last_validators(self) -> Members:
        return self.state.last_members

    def next_validators(self) -> Members:
        return self.state.next_members

    def punished(self) -> frozenset[bytes]:
        return self.state.punished

    # -- Application: blocks ----------------------------------------------------------------------------------------

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        return self.pool.prepare(max_bytes)

    def precheck(self, block: Block) -> Resumable[None]:
        """Open the transactions of a block that is to be validated; pauses after each."""
        for raw in block.txs:
            self.pool.open_tx(raw)
            yield

    def validate(self, block: Block) -> bool:
        """Whether all transactions may be in a block on this state. Pure; never raises."""
        return len(self.pool.acceptable(block.txs)) == len(block.txs)

    def execute(self, block: Block, priorities: bytes) -> Resumable[None]:
        """Apply a decided block, on the side; `finalize` commits it. Raises LocalProtocolError for a block of another
        height."""
        if block.header.height != self.height() + 1:
            raise LocalProtocolError(f"block {block.header.height} on height {self.height()}", field="height")
        self._executed = None
        executed = yield from execute_block(self.store, self.genesis, block, priorities, self.pool.verified.find)
        archive.add(self.store, executed.batch, executed.effects.left, self._keep_for)
        self.payloads.prune(executed.batch, executed.effects.left)
        self._executed = executed

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        """Commit everything that a decided block makes, at once. Raises StorageError; then nothing is written."""
        made = self._executed
        if made is None or made.block is not block or made.priorities != priorities:
            run_to_end(self.execute(block, priorities))
            made = self._executed
            assert made is not None
        header, view, effects = block.header, made.view, made.effects
        # not in `execute`, during whose pauses payloads change
        self.payloads.sweep(made.batch, header.height, self.genesis.epoch_blocks)
        self.blocks.keep(made.batch, block, commit, effects.receipts)
        if view.has_put(keys.validator_set(b"next")):
            keep_set(made.batch, members(view, b"next"))
        tip = Tip(header.height, made.app_hash, block.block_id, header.beacon, header.time_ms, commit)
        self.become(tip, made.batch, effects.fates)
        for agent, inference_id, what in effects.refused_starts:
            self.on_refused_start(agent, inference_id, what, header.height)
        self.reservations.after_block(view, header.height)

    def become(self, tip: Tip, batch: Batch, fates: Sequence[tuple[bytes, Fate]] | None = None) -> None:
        """Write `batch` with the new tip, and stand there.

        fates: what became of the block's account transactions; None: the state came without its block (a snapshot).
        """
        self._executed = None  # it was made for the tip that goes
        batch.put("meta", TIP, encode(tip))
        self.store.commit(batch)
        self.state.move_to(tip)
        self.pool.after_block(fates)
