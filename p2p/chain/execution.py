"""What a block makes of the state below it.

Law: it is worked out on the side and nothing is written; the caller commits all of it in one transaction. It is
resumable work: it may pause after each record, each entry that is due at the end of the block, and each part of the
tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.resumable import Resumable, run_to_end
from p2p.base.types import Batch as RecordBatch
from p2p.base.types import Record, RecordKind, StartRecord
from p2p.chain.state import Tip
from p2p.chain.stores import snapshots
from p2p.chain.stores.blocks import keep_set
from p2p.chain.transaction_fates import Fate, fate_of
from p2p.consensus.evidence import offender
from p2p.consensus.messages import Block
from p2p.ledger.apply_operation import carry_out
from p2p.ledger.apply_record import apply_record
from p2p.ledger.end_of_block import end_of_block_resumably
from p2p.ledger.genesis import first_state
from p2p.ledger.inferences.pruning import Left
from p2p.ledger.participants.validator_sets import members, rotate
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.state import keys, tree
from p2p.ledger.state.records import Receipt
from p2p.ledger.state.snapshot import Manifest, make_chunks
from p2p.ledger.state.view import View
from p2p.ledger.transactions import Transaction, parse
from p2p.store.batch import Batch
from p2p.store.keys import GENESIS, TIP
from p2p.store.lmdb import Store

NO_BLOCK = bytes(32)  # block id at height 0
RefusedStart = tuple[bytes, bytes, str]  # agent, inference, the field that it was refused for


@dataclass(slots=True)
class Effects:
    """What a block's transactions did besides changing the state."""

    receipts: list[Receipt] = field(default_factory=list)  # of what was refused
    fates: list[tuple[bytes, Fate]] = field(default_factory=list)  # operation id -> what became of it
    refused_starts: list[RefusedStart] = field(default_factory=list)
    left: tuple[Left, ...] = ()  # inferences that left the state


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block that was executed and not committed yet."""

    block: Block
    priorities: bytes
    view: View  # the state after it
    effects: Effects
    batch: Batch  # the changes of state and tree, to be written
    app_hash: bytes


def begin(store: Store, genesis: Genesis) -> Tip:
    """Write the state that the genesis describes; the tip at height 0."""
    view, batch = View(lambda key: None), Batch()
    first_state(view, genesis, genesis.hash)
    app_hash = run_to_end(seal(store, genesis, view, 0, batch))
    tip = Tip(0, app_hash, NO_BLOCK, genesis.hash, genesis.time_ms, None)
    batch.put("meta", GENESIS, encode(genesis))
    batch.put("meta", TIP, encode(tip))
    keep_set(batch, members(view, b"now"))
    store.commit(batch)
    return tip


def execute_block(
    store: Store, genesis: Genesis, block: Block, priorities: bytes, find: Callable[[bytes], Transaction | None]
) -> Resumable[ExecutedBlock]:
    """Apply a decided block to the stored state. find: a transaction that is known already, by its bytes."""
    view, batch = View(lambda key: store.read("state", key)), Batch()
    effects = yield from apply_block(view, genesis, block, find)
    view.put(keys.PRIORITIES, priorities)
    app_hash = yield from seal(store, genesis, view, block.header.height, batch)
    for one in effects.left:
        _ = one.leaf_hash, one.inference  # both are cached there, so that committing is quick
        yield
    return ExecutedBlock(block, priorities, view, effects, batch, app_hash)


def apply_block(
    view: View, genesis: Genesis, block: Block, find: Callable[[bytes], Transaction | None]
) -> Resumable[Effects]:
    """Carry out all transactions of a block on `view`, then the end of the block."""
    ctx, effects = Context(view, genesis, block.header.height), Effects()
    for raw in block.txs:
        tx = find(raw) or parse(genesis, raw)
        if isinstance(tx, SignedOp):
            _apply_operation(ctx, tx, effects)
            yield
        elif _count_batch(view, tx.batch):
            for index, record in enumerate(tx.batch.records):
                _apply_record(ctx, tx.batch.sender, index, record, effects)
                yield
        else:
            effects.receipts.append(Receipt(tx.batch.sender, 0, "sender_gone", "sender"))
            starts = (inference_of_start(record) for record in tx.batch.records if record.kind is RecordKind.START)
            refused = ((tx.batch.sender, started, "sender") for started in starts if started is not None)
            effects.refused_starts.extend(refused)
            yield
    effects.left = yield from end_of_block_resumably(ctx, block.header.beacon)
    rotate(ctx, [offender(raw) for raw in block.evidence])
    return effects


def _apply_operation(ctx: Context, signed: SignedOp, effects: Effects) -> None:
    error = try_operation(ctx, signed)
    if error is not None:
        effects.receipts.append(Receipt(signed.op.account, 0, error.code[:96], error.field[:96]))
    effects.fates.append((signed.op_id, fate_of(ctx.height, error)))


def _apply_record(ctx: Context, sender: bytes, index: int, record: Record, effects: Effects) -> None:
    try:
        apply_record(ctx, sender, record)
        if record.kind is RecordKind.OP:  # one that is refused here may still be carried out by itself
            effects.fates.append((unpack(SignedOp, record.body).op_id, fate_of(ctx.height, None)))
    except FolkmootError as error:
        effects.receipts.append(Receipt(sender, index, error.code[:96], error.field[:96]))
        if record.kind is RecordKind.START and (started := inference_of_start(record)) is not None:
            effects.refused_starts.append((sender, started, error.field))


def try_operation(ctx: Context, signed: SignedOp) -> FolkmootError | None:
    """Carry out an account's transaction in the context's block. Returns the error where that is refused; then the view
    is as before."""
    try:
        ctx.view.whole(lambda _: carry_out(ctx, signed))
    except FolkmootError as error:
        return error
    return None


def _count_batch(view: View, batch: RecordBatch) -> bool:
    """Use the batch's nonce. False where the batch cannot be carried out: `validate` asked the state below the block,
    and earlier transactions of the block may have changed it since. That costs the sender its batch and must not stop
    the chain."""
    participant = view.participant(batch.sender)
    if participant is None or batch.nonce != participant.batch_nonce + 1:
        return False
    view.put_participant(replace(participant, batch_nonce=batch.nonce))
    return True


def inference_of_start(record: Record) -> bytes | None:
    """The id of the inference that a Start record is about; None where its body is no Start."""
    try:
        return unpack(StartRecord, record.body).signed_request.inference_id
    except RemoteProtocolError:
        return None


def seal(store: Store, genesis: Genesis, view: View, height: int, batch: Batch) -> Resumable[bytes]:
    """Put the changes of state and tree into `batch`, and at an epoch's end a snapshot. Returns the app hash after
    `height`."""
    changed: dict[bytes, bytes | None] = {}
    for key in view.keys_put():
        changed[key] = view.get(key)
        yield
    root, pages = yield from tree.update_resumably(lambda position: store.read("tree", position), changed)
    for database, changes in (("state", changed), ("tree", pages)):
        for key, value in changes.items():
            batch.put(database, key, value)
    if height and height % genesis.epoch_blocks == 0:
        chunks, slots = yield from make_chunks(_state_with(store, changed))
        snapshots.keep(store, batch, Manifest(height, tuple(slots)), chunks, genesis.epoch_blocks)
    return tree.app_hash(root)


def _state_with(store: Store, changed: Mapping[bytes, bytes | None]) -> Iterator[tuple[bytes, bytes]]:
    """The whole state as it will be, ordered by key."""
    old = ((key, value) for key, value in store.walk("state") if key not in changed)
    return merge(old, sorted((key, value) for key, value in changed.items() if value is not None))
