"""The chain of one peer: blocks and the state they make. Law: block, state, app hash, receipts in ONE transaction.

Implements consensus.application.Application: checking and applying a block are work in steps, of which nobody sees anything before
`finalize`, so whoever drives them may let others run between two. Transactions on their way in are in chain_txs.py, what agent, executor
and validator must know in chain_answers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

from msgspec.structs import replace

from p2p.base.codec import encode, load, unpack
from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, LocalProtocolError, RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.resumable import Resumable, run_to_end
from p2p.base.types import Batch as TxBatch
from p2p.base.types import Record, RecordKind, SignedRequest, StartRecord, Status
from p2p.chain.mempool import Mempool
from p2p.chain.reader import Tip
from p2p.chain.stores import archive, snapshots
from p2p.chain.stores.guard import GuardStore
from p2p.chain.stores.payloads import Payloads
from p2p.chain.transaction_fates import Fate, Fates, fate_of
from p2p.chain.tx_pool import Transactions
from p2p.chain.verified_batches import VerifiedBatches
from p2p.consensus.evidence import offender
from p2p.consensus.messages import Block, CommitCertificate, Header
from p2p.consensus.validators import ValidatorSet
from p2p.ledger.apply_record import apply_record
from p2p.ledger.end_of_block import end_of_block_resumably
from p2p.ledger.genesis import first_state
from p2p.ledger.inferences.pruning import Left
from p2p.ledger.money.requests import check_request
from p2p.ledger.participants.validator_sets import Members, members, punished, rotate
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.state import tree
from p2p.ledger.state.records import Receipt
from p2p.ledger.state.snapshot import Manifest, make_chunks
from p2p.ledger.state.view import View
from p2p.ledger.transactions import parse
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

ZERO = bytes(32)
RefusedStart = tuple[bytes, bytes, str]  # agent, inference, the field that it was refused for
RESERVED_HEIGHTS = 20  # a request taken here counts against its account this long, unless its Start is on chain sooner


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """What a block makes of the state below it: all that is to be written but block, tip, receipts and the sweep of payloads."""

    block: Block
    priorities: bytes
    view: View
    receipts: list[Receipt]
    fates: list[tuple[bytes, Fate]]
    batch: Batch
    app_hash: bytes
    refused_starts: list[RefusedStart]


class Chain(Transactions):
    def __init__(self, store: Store, guard: GuardStore, genesis: Genesis, keep_for: bytes | None = None) -> None:
        """keep_for: the node in whose inferences' records one is interested after they left the state; None: in all."""
        self.store, self.guard, self.genesis, self._keep_for = store, guard, genesis, keep_for
        self.payloads = Payloads(store)
        self.mempool = Mempool()
        self._reserved = {}
        self._verified = VerifiedBatches()
        self.on_refused_start: Callable[[bytes, bytes, str, int], None] = lambda agent, inference_id, what, height: None
        self.fates = Fates()
        self._executed: ExecutedBlock | None = None  # `execute` has done it, `finalize` has not come yet
        raw = store.read("meta", b"tip")
        self._tip = load(Tip, raw) if raw else self._begin()
        self._load_sets()

    @classmethod
    def open(cls, directory: Path, genesis: Genesis, *, keep_for: bytes | None = None, allow_missing_guard: bool = False) -> Chain:
        """Open DIR/data. Raises StorageError (locked, full, guard missing) or ConfigError (another genesis)."""
        store = Store(directory / "data")
        try:
            known = store.read("meta", b"genesis")
            if known is not None and known != encode(genesis):
                raise ConfigError(f"{directory} belongs to another network or genesis", field="genesis")
            guard = GuardStore(store, directory / "node.key.used", allow_missing=allow_missing_guard)
            return cls(store, guard, genesis, keep_for)
        except FolkmootError:
            store.close()
            raise

    def close(self) -> None:
        self.store.close()

    def _begin(self) -> Tip:
        beacon = self.genesis.hash
        view = View(lambda key: None)
        first_state(view, self.genesis, beacon)
        batch = Batch()
        tip = Tip(0, run_to_end(self._seal(view, 0, batch)), ZERO, beacon, self.genesis.time_ms, None)
        batch.put("meta", b"genesis", encode(self.genesis))
        batch.put("meta", b"tip", encode(tip))
        keep_set(batch, members(view, b"now"))
        self.store.commit(batch)
        return tip

    def _load_sets(self) -> None:
        """Read once per height what consensus asks for many times."""
        view = self._view()
        self._sets = tuple(members(view, name) for name in (b"last", b"now", b"next"))
        self._punished = punished(view)

    # -- Application ----------------------------------------------------------------------------------------------

    def height(self) -> int:
        return self._tip.height

    def app_hash(self) -> bytes:
        return self._tip.app_hash

    def beacon(self) -> bytes:
        return self._tip.beacon

    def last_block_id(self) -> bytes:
        return self._tip.block_id

    def last_commit(self) -> CommitCertificate | None:
        return self._tip.commit

    def last_time_ms(self) -> int:
        return self._tip.time_ms

    def priorities(self) -> bytes:
        return self.store.read("state", b"set/priorities") or b""

    def validators(self) -> Members:
        """(key, weight) of the set that decides height()+1."""
        return self._sets[1]

    def last_validators(self) -> Members:
        return self._sets[0]

    def next_validators(self) -> Members:
        return self._sets[2]

    def punished(self) -> frozenset[bytes]:
        return self._punished

    def precheck(self, block: Block) -> Resumable[None]:
        """Open the transactions of a block that is to be processed: a step for each."""
        for raw in block.txs:
            self._open_tx(raw)
            yield

    def validate(self, block: Block) -> bool:
        """Whether all transactions may be in a block on this state. Pure; never raises."""
        return len(self._right(block.txs)) == len(block.txs)

    def execute(self, block: Block, priorities: bytes) -> Resumable[None]:
        """Apply a decided block, on the side: a step for each record, for each id that is due, and in `_seal`. `finalize` takes it from here."""
        if block.header.height != self.height() + 1:
            raise LocalProtocolError(f"block {block.header.height} on height {self.height()}", field="height")
        self._executed = None
        view, batch = View(self._read_state), Batch()
        receipts, fates, left, refused = yield from self._apply(view, block)
        view.put(b"set/priorities", priorities)
        app_hash = yield from self._seal(view, block.header.height, batch)
        for one in left:
            _ = one.leaf_hash, one.inference  # kept there, so that what follows is quick
            yield
        archive.add(self.store, batch, left, self._keep_for)
        self.payloads.let_go(batch, left)
        self._executed = ExecutedBlock(block, priorities, view, receipts, fates, batch, app_hash, refused)

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        """Commit everything that a decided block makes at once. Raises StorageError; then nothing is written."""
        made = self._executed
        if made is None or made.block is not block or made.priorities != priorities:
            run_to_end(self.execute(block, priorities))
            made = self._executed
            assert made is not None
        header, view, batch = block.header, made.view, made.batch
        self.payloads.sweep(batch, header.height, self.genesis.epoch_blocks)  # here, for payloads come and go while `execute` is done
        tip = Tip(header.height, made.app_hash, block.block_id, header.beacon, header.time_ms, commit)
        batch.put("blocks", b"b" + height_key(header.height), encode([encode(block), encode(commit)]))
        batch.put("blocks", b"r" + height_key(header.height), encode(made.receipts))
        if view.has_put(b"set/next"):
            keep_set(batch, members(view, b"next"))
        self.become(tip, batch, made.fates)
        for agent, inference_id, what in made.refused_starts:
            self.on_refused_start(agent, inference_id, what, header.height)
        self._reserved = {k: v for k, v in self._reserved.items() if header.height - v[3] < RESERVED_HEIGHTS and not _is_used(view, k)}

    def become(self, tip: Tip, batch: Batch, fates: Sequence[tuple[bytes, Fate]] | None = None) -> None:
        """Write everything at once, with the new tip; then stand there. fates: what became of the block's orders; None: there is no block."""
        self._executed = None  # it was made for the tip that goes
        batch.put("meta", b"tip", encode(tip))
        self.store.commit(batch)
        self._tip = tip
        self._load_sets()
        self._settle_txs(fates)

    def _seal(self, view: View, height: int, batch: Batch) -> Resumable[bytes]:
        """Put the block's changes of state and tree into `batch`; the app hash after `height`. An epoch's end is kept as a snapshot."""
        changed: dict[bytes, bytes | None] = {}
        for key in view.keys_put():
            changed[key] = view.get(key)
            yield
        root, pages = yield from tree.update_resumably(lambda position: self.store.read("tree", position), changed)
        for database, changes in (("state", changed), ("tree", pages)):
            for key, value in changes.items():
                batch.put(database, key, value)
        if height and height % self.genesis.epoch_blocks == 0:
            chunks, slots = yield from make_chunks(self._state_with(changed))
            snapshots.keep(self.store, batch, Manifest(height, tuple(slots)), chunks, self.genesis.epoch_blocks)
        return tree.app_hash(root)

    def _state_with(self, changed: Mapping[bytes, bytes | None]) -> Iterator[tuple[bytes, bytes]]:
        """The whole state as it will be, by key."""
        old = ((key, value) for key, value in self.store.walk("state") if key not in changed)
        return merge(old, sorted((key, value) for key, value in changed.items() if value is not None))

    def _apply(
        self, view: View, block: Block
    ) -> Resumable[tuple[list[Receipt], list[tuple[bytes, Fate]], tuple[Left, ...], list[RefusedStart]]]:
        """Receipts of what was refused, what became of orders, what left the state, and which Starts were refused for what."""
        ctx = Context(view, self.genesis, block.header.height)
        height, receipts, fates, refused = block.header.height, list[Receipt](), list[tuple[bytes, Fate]](), list[RefusedStart]()
        for raw in block.txs:
            tx = self._verified.find(raw) or parse(self.genesis, raw)
            if isinstance(tx, SignedOp):
                wrong = self._carry(view, tx)
                if wrong is not None:
                    receipts.append(Receipt(tx.op.account, 0, wrong.code[:96], wrong.field[:96]))
                fates.append((tx.op_id, fate_of(height, wrong)))
                yield
                continue
            batch = tx.batch
            if not _count_batch(view, batch):
                receipts.append(Receipt(batch.sender, 0, "sender_gone", "sender"))
                starts = (request_of(record) for record in batch.records if record.kind is RecordKind.START)
                refused.extend((batch.sender, started, "sender") for started in starts if started is not None)
                yield
                continue
            for index, record in enumerate(batch.records):
                try:
                    apply_record(ctx, batch.sender, record)
                    if record.kind is RecordKind.OP:  # one that is refused here may still be carried out by itself
                        fates.append((unpack(SignedOp, record.body).op_id, fate_of(height, None)))
                except FolkmootError as error:
                    receipts.append(Receipt(batch.sender, index, error.code[:96], error.field[:96]))
                    if record.kind is RecordKind.START and (started := request_of(record)) is not None:
                        refused.append((batch.sender, started, error.field))
                yield
        left = yield from end_of_block_resumably(ctx, block.header.beacon)
        rotate(ctx, [offender(raw) for raw in block.evidence])
        return receipts, fates, left, refused

    def block(self, height: int) -> tuple[Block, CommitCertificate] | None:
        raw = self.store.read("blocks", b"b" + height_key(height))
        if raw is None:
            return None
        block, commit = load(tuple[bytes, bytes], raw)
        return load(Block, block), load(CommitCertificate, commit)

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """Records of block `height` that were refused, and why."""
        raw = self.store.read("blocks", b"r" + height_key(height))
        return load(tuple[Receipt, ...], raw) if raw else ()

    def header(self, height: int) -> Header | None:
        found = self.block(height)
        return found[0].header if found else None

    # -- what is taken here ---------------------------------------------------------------------------------------

    def check_request(self, signed: SignedRequest, *, started_ok: bool = False) -> None:
        """Before any work: InvalidRequest naming the field. started_ok: its Start may be on chain already (executor)."""
        view, request, reserved, by_signer = self._view(), signed.request, 0, 0
        if started_ok:
            inference = view.inference(signed.inference_id)
            if inference is not None and inference.status == Status.STARTED.value:
                return
        else:
            if _reservation(signed) in self._reserved or self.operation_waits(request.account, request.client_nonce):
                raise InvalidRequest(f"nonce {request.client_nonce} was used", field="client_nonce")
            mine = [(signer, escrow) for account, signer, escrow, _ in self._reserved.values() if account == request.account]
            reserved, by_signer = sum(e for _, e in mine), sum(e for signer, e in mine if signer == request.signer)
        ctx = Context(view, self.genesis, self.height() + 1)
        check_request(ctx, signed, reserved_micro=reserved, signer_reserved_micro=by_signer)

    def reserve(self, signed: SignedRequest) -> None:
        """The agent took this request: its nonce and escrow count here until the chain holds them."""
        request = signed.request
        self._reserved[_reservation(signed)] = (request.account, request.signer, self.escrow_micro(signed), self.height())

    def put_payload(self, inference_id: bytes, payload: bytes) -> None:
        self.payloads.put(inference_id, payload)

    def drop_payloads(self, inference_ids: Iterable[bytes]) -> None:
        """They are not wanted any more; one that is not here is no error."""
        self.payloads.drop(inference_ids)


def _count_batch(view: View, batch: TxBatch) -> bool:
    """Its nonce is used from now on. False where it cannot be carried out: `validate` asked the state below the block, and whatever earlier
    transactions of the block have changed since costs the sender its batch, never everybody the chain."""
    participant = view.participant(batch.sender)
    if participant is None or batch.nonce != participant.batch_nonce + 1:
        return False
    view.put_participant(replace(participant, batch_nonce=batch.nonce))
    return True


def request_of(record: Record) -> bytes | None:
    """The inference that a Start is about; None where it is none."""
    try:
        return unpack(StartRecord, record.body).signed_request.inference_id
    except RemoteProtocolError:
        return None


def _reservation(signed: SignedRequest) -> bytes:
    return _nonce_key(signed.request.account, signed.request.client_nonce)


def _nonce_key(account: bytes, nonce: int) -> bytes:
    return account + nonce.to_bytes(8, "big")


def _is_used(view: View, nonce_key: bytes) -> bool:
    return not view.account(nonce_key[:32]).nonce_is_free(int.from_bytes(nonce_key[32:], "big"))


def keep_set(batch: Batch, some: Members) -> None:
    """Sets by hash, for light clients: headers name them for ever."""
    batch.put("blocks", b"v" + ValidatorSet.of(some).hash(), encode(some))
