"""A decided block as an answer for people: what its records are about, and which the ledger refused. Law: read only."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.types import (
    OutputRecord,
    PlantReveal,
    Record,
    RecordKind,
    SignedBatch,
    SignedBusy,
    SignedFinish,
    SprintOpen,
    StartRecord,
    Verdict,
    VerdictCommit,
)
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.state.records import Receipt
from p2p.ledger.transactions import read
from p2p.wire.answers.blocks import BlockAnswer, BlockRecord, RefusedRecord

_BARE: dict[RecordKind, type[OutputRecord | VerdictCommit | Verdict | PlantReveal]] = {
    RecordKind.OUTPUT: OutputRecord, RecordKind.VERDICT_COMMIT: VerdictCommit, RecordKind.VERDICT: Verdict,
    RecordKind.PLANT_REVEAL: PlantReveal,
}


def block_answer(block: Block, certificate: CommitCertificate, receipts: Sequence[Receipt]) -> BlockAnswer:
    """receipts: of the records that were refused."""
    header = block.header
    return BlockAnswer(
        height=header.height, block_id=block.block_id.hex(), round=header.round, commit_round=certificate.round,
        proposer=header.proposer.hex(), time_ms=header.time_ms, app_hash=header.app_hash.hex(),
        beacon=header.beacon.hex(), txs=len(block.txs), signatures=len(certificate.signatures),
        records=tuple(row for raw in block.txs for row in _records(raw)),
        refused=tuple(RefusedRecord(r.sender.hex(), r.index, r.code, r.field) for r in receipts),
    )


def _records(raw: bytes) -> list[BlockRecord]:
    """One row per record of a transaction. An account's transaction is one record."""
    tx, rows = read(raw), []
    for record in tx.batch.records if isinstance(tx, SignedBatch) else (Record(RecordKind.OP, b""),):
        try:
            about = inference_of(record.kind, record.body).hex()
        except FolkmootError:
            about = ""  # the ledger refused it, the block still carries it
        rows.append(BlockRecord(record.kind.name, about))
    return rows


def inference_of(kind: RecordKind, body: bytes) -> bytes:
    """The inference that a record is about; empty for a PLANT_COMMIT and a SPRINT_COMMIT, which name none. Raises
    RemoteProtocolError for a body of another kind."""
    if kind is RecordKind.START:
        return bytes(unpack(StartRecord, body).signed_request.inference_id)
    if kind is RecordKind.FINISH:
        return unpack(SignedFinish, body).record.inference_id
    if kind is RecordKind.SPRINT_OPEN:
        return unpack(SprintOpen, body).finish.record.inference_id
    if kind is RecordKind.BUSY:
        return unpack(SignedBusy, body).record.inference_id
    shape = _BARE.get(kind)
    return unpack(shape, body).inference_id if shape else b""
