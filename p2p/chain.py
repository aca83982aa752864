"""The chain of one peer: blocks and the state they make. Law: block, state, app hash, receipts in ONE transaction.

Implements consensus.application.Application, and answers what agent, executor and validator must know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from p2p import chain_view
from p2p.chain_view import Claim, Draw, Duty
from p2p.codec import Message, encode, load, unpack
from p2p.consensus.evidence import offender
from p2p.consensus.messages import Block, CommitCertificate, Header
from p2p.consensus.validators import ValidatorSet
from p2p.errors import ConfigError, FolkmootError, InvalidRequest, LocalProtocolError, RemoteProtocolError
from p2p.keys import Domain, digest, verify
from p2p.ledger import tree
from p2p.ledger.apply import apply_record
from p2p.ledger.genesis import first_state
from p2p.ledger.members import Members, members, punished, rotate
from p2p.ledger.mempool import Mempool
from p2p.ledger.proofs import TreeProof, prove
from p2p.ledger.records import Receipt
from p2p.ledger.rules import check_request, escrow_of, model_spec, serving
from p2p.ledger.settle import end_of_block
from p2p.ledger.snapshot import Manifest, make_chunks
from p2p.ledger.view import View
from p2p.limits import MAX_RECORDS_PER_TX, MAX_TX
from p2p.store import snapshots
from p2p.store.batch import Batch
from p2p.store.guard import GuardStore
from p2p.store.keys import height_key
from p2p.store.lmdb import Store
from p2p.types import (
    VERSION,
    Genesis,
    ModelSpec,
    SignedBatch,
    SignedRequest,
    Status,
)

ZERO = bytes(32)
RESERVED_HEIGHTS = 20  # a request taken here counts against its account this long, unless its Start is on chain sooner


class Tip(Message, frozen=True):
    """Where the chain stands; height 0 is the genesis."""

    height: int
    app_hash: bytes
    block_id: bytes
    beacon: bytes
    time_ms: int
    commit: CommitCertificate | None


class Chain:
    def __init__(self, store: Store, guard: GuardStore, genesis: Genesis) -> None:
        self.store, self.guard, self.genesis = store, guard, genesis
        self.mempool = Mempool()
        self._reserved: dict[bytes, tuple[bytes, int, int]] = {}  # account and nonce -> (account, escrow, height)
        raw = store.read("meta", b"tip")
        self._tip = load(Tip, raw) if raw else self._begin()
        self._load_sets()

    @classmethod
    def open(cls, directory: Path, genesis: Genesis, *, allow_missing_guard: bool = False) -> Chain:
        """Open DIR/data. Raises StorageError (locked, full, guard missing) or ConfigError (another genesis)."""
        store = Store(directory / "data")
        try:
            known = store.read("meta", b"genesis")
            if known is not None and known != encode(genesis):
                raise ConfigError(f"{directory} belongs to another network or genesis", field="genesis")
            guard = GuardStore(store, directory / "node.key.used", allow_missing=allow_missing_guard)
            return cls(store, guard, genesis)
        except FolkmootError:
            store.close()
            raise

    def close(self) -> None:
        self.store.close()

    def _begin(self) -> Tip:
        beacon = digest(b"genesis", encode(self.genesis))
        view = View(lambda key: None)
        first_state(view, self.genesis, beacon)
        batch = Batch()
        tip = Tip(0, self._seal(view, 0, batch), ZERO, beacon, self.genesis.time_ms, None)
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

    def has_txs(self) -> bool:
        return len(self.mempool) > 0

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        """Transactions for a new block; every one of them passes `process`."""
        return tuple(raw for raw in self.mempool.select(max_bytes) if self._tx_fault(raw) is None)

    def process(self, block: Block) -> bool:
        """Whether all transactions may be in a block on this state. Pure; never raises."""
        senders: set[bytes] = set()
        for raw in block.txs:
            if self._tx_fault(raw) is not None:
                return False
            sender = unpack(SignedBatch, raw).batch.sender
            if sender in senders:
                return False  # one batch per peer per block
            senders.add(sender)
        return True

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        """Apply a decided block and commit everything at once. Raises StorageError; then nothing is written."""
        header = block.header
        if header.height != self.height() + 1:
            raise LocalProtocolError(f"block {header.height} on height {self.height()}", field="height")
        view = View(self._read_state)
        receipts = self._apply(view, block)
        view.put(b"set/priorities", priorities)
        batch = Batch()
        tip = Tip(header.height, self._seal(view, header.height, batch), block.block_id, header.beacon, header.time_ms, commit)
        batch.put("blocks", b"b" + height_key(header.height), encode([encode(block), encode(commit)]))
        batch.put("blocks", b"r" + height_key(header.height), encode(receipts))
        if b"set/next" in view.changes:
            keep_set(batch, members(view, b"next"))
        self.become(tip, batch)
        self._reserved = {k: v for k, v in self._reserved.items() if header.height - v[2] < RESERVED_HEIGHTS}

    def become(self, tip: Tip, batch: Batch) -> None:
        """Write everything at once, with the new tip; then stand there."""
        batch.put("meta", b"tip", encode(tip))
        self.store.commit(batch)
        self._tip = tip
        self._load_sets()
        self.mempool.settle(self.batch_nonce, tip.height)

    def _seal(self, view: View, height: int, batch: Batch) -> bytes:
        """Put the block's changes of state and tree into `batch`; the app hash after `height`. An epoch's end is kept as a snapshot."""
        changed = view.changes
        root, pages = tree.update(lambda position: self.store.read("tree", position), changed)
        for database, changes in (("state", changed), ("tree", pages)):
            for key, value in changes.items():
                batch.put(database, key, value)
        if height and height % self.genesis.epoch_blocks == 0:
            state = dict(self.store.scan("state"))
            state |= {key: value for key, value in changed.items() if value is not None}
            gone = {key for key, value in changed.items() if value is None}
            chunks, slots = make_chunks((key, state[key]) for key in sorted(state) if key not in gone)
            snapshots.keep(self.store, batch, Manifest(height, tuple(slots)), chunks, self.genesis.epoch_blocks)
        return tree.app_hash(root)

    def _apply(self, view: View, block: Block) -> list[Receipt]:
        height, receipts = block.header.height, []
        for raw in block.txs:
            signed = unpack(SignedBatch, raw).batch
            participant = view.participant(signed.sender)
            assert participant is not None  # process() accepted this block
            view.put_participant(replace(participant, batch_nonce=signed.nonce))
            for index, record in enumerate(signed.records):
                try:
                    apply_record(view, self.genesis, height, signed.sender, record)
                except FolkmootError as error:
                    receipts.append(Receipt(signed.sender, index, error.code[:96], error.field[:96]))
        end_of_block(view, self.genesis, height, block.header.beacon)
        rotate(view, self.genesis, height, [offender(raw) for raw in block.evidence])
        return receipts

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

    # -- mempool --------------------------------------------------------------------------------------------------

    def _tx_fault(self, raw: bytes) -> FolkmootError | None:
        """Why these bytes may not be in the next block, or None."""
        try:
            signed = unpack(SignedBatch, raw, limit=MAX_TX)
        except RemoteProtocolError as error:
            return error
        batch = signed.batch
        participant = self._view().participant(batch.sender)
        if batch.version != VERSION:
            return RemoteProtocolError(f"version {batch.version} is not spoken here", field="version")
        if batch.network != self.genesis.network:
            return RemoteProtocolError(f"this is network {self.genesis.network}", field="network")
        if participant is None:
            return RemoteProtocolError("the sender is no participant", field="sender")
        if not 0 < len(batch.records) <= MAX_RECORDS_PER_TX:
            return RemoteProtocolError("an empty batch, or too many records", field="records")
        if batch.nonce <= participant.batch_nonce:
            return InvalidRequest(f"nonce {batch.nonce} was used", field="nonce")
        if not verify(batch.sender, Domain.TX, batch.network, encode(batch), signed.signature):
            return RemoteProtocolError("not signed by the sender", field="signature")
        return None

    def add_tx(self, raw: bytes) -> None:
        """Into the mempool. Raises RemoteProtocolError (invalid), InvalidRequest (replayed, known), Overloaded."""
        if self.mempool.known(raw):
            raise InvalidRequest("known already", field="transaction", code="known")
        if self.mempool.was_refused(raw):
            raise RemoteProtocolError("refused before", field="transaction")
        fault = self._tx_fault(raw)
        if fault is not None:
            if isinstance(fault, RemoteProtocolError):
                self.mempool.refuse(raw)
            raise fault
        self.mempool.add(raw, unpack(SignedBatch, raw), self.height())

    # -- what the others ask --------------------------------------------------------------------------------------

    def _read_state(self, key: bytes) -> bytes | None:
        return self.store.read("state", key)

    def _view(self) -> View:
        return View(self._read_state)

    def check_request(self, signed: SignedRequest, draw_height: int, *, started_ok: bool = False) -> None:
        """Before any work: InvalidRequest naming the field. started_ok: its Start may be on chain already (executor)."""
        view, request, reserved = self._view(), signed.request, 0
        if started_ok:
            inference = view.inference(signed.inference_id)
            if inference is not None and inference.status == Status.STARTED.value:
                return
        else:
            if _reservation(signed) in self._reserved:
                raise InvalidRequest(f"nonce {request.client_nonce} was used", field="client_nonce")
            reserved = sum(escrow for account, escrow, _ in self._reserved.values() if account == request.account)
        check_request(view, self.genesis, signed, max(draw_height, self.height()), reserved_micro=reserved)

    def reserve(self, signed: SignedRequest) -> None:
        """The agent took this request: its nonce and escrow count here until the chain holds them."""
        spec = self.model(signed.request.model)
        assert spec is not None  # check_request
        self._reserved[_reservation(signed)] = (signed.request.account, escrow_of(signed.request, spec.price_micro), self.height())

    def model(self, name: str) -> ModelSpec | None:
        return model_spec(self.genesis, name)

    def participants(self, model: str) -> list[tuple[bytes, int]]:
        return serving(self._view(), model)

    def beacon_at(self, height: int) -> bytes | None:
        return self._view().beacon(height)

    def batch_nonce(self, node: bytes) -> int:
        participant = self._view().participant(node)
        return participant.batch_nonce if participant else 0

    def pending_duties(self, node: bytes) -> list[Duty]:
        """What `node` was drawn for and has to do now."""
        return chain_view.duties(self._view(), node)

    def may_fetch(self, inference_id: bytes, peer: str) -> bool:
        """Whether a peer (libp2p id) has a part in this inference that needs its payload."""
        return chain_view.may_fetch(self._view(), inference_id, peer)

    def draw_of(self, inference_id: bytes) -> Draw | None:
        """The draw that the chain has for a started inference."""
        return chain_view.draw_of(self._view(), inference_id)

    def claim(self, inference_id: bytes) -> Claim | None:
        return chain_view.claim(self._view(), self.genesis, inference_id)

    def put_payload(self, inference_id: bytes, payload: bytes) -> None:
        batch = Batch()
        batch.put("payloads", inference_id, payload)
        self.store.commit(batch)

    def payload(self, inference_id: bytes) -> bytes | None:
        return self.store.read("payloads", inference_id)

    def account_view(self, public: bytes) -> dict[str, Any]:
        account = self._view().account(public)
        taken = [int.from_bytes(key[32:], "big") for key in self._reserved if key[:32] == public]
        return {
            "account": public.hex(), "balance_micro": account.balance_micro,
            "next_nonce": max([account.nonce_high, *taken]) + 1, "height": self.height(), "beacon": self.beacon().hex(),
        }

    def inference_view(self, inference_id: bytes) -> dict[str, Any] | None:
        inference = self._view().inference(inference_id)
        return chain_view.inference_view(inference_id, inference) if inference else None

    def proved(self, key: bytes) -> tuple[bytes | None, TreeProof]:
        """The value of a key of the state after height(), None where there is none, and the proof against its app hash."""
        return self._read_state(key), prove(lambda position: self.store.read("tree", position), key)

    def verification_view(self) -> dict[str, Any]:
        return chain_view.verification_view(self._view(), self.genesis, self.height())


def _reservation(signed: SignedRequest) -> bytes:
    return signed.request.account + signed.request.client_nonce.to_bytes(8, "big")


def keep_set(batch: Batch, some: Members) -> None:
    """Sets by hash, for light clients: headers name them for ever."""
    batch.put("blocks", b"v" + ValidatorSet.of(some).hash(), encode(some))
