"""What a block carries: batches of participants' records, and orders of accounts by themselves. Law: nothing here asks the state, so what is
refused here is wrong for everybody who looks.

An order needs no participant to bring it: whoever has an account can be heard, also the owner of a peer that is about to be registered.
"""

from __future__ import annotations

from p2p.base.codec import encode, unpack
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, verify
from p2p.base.limits import MAX_RECORDS_PER_TX, MAX_TX
from p2p.base.types import VERSION, Record, RecordKind, SignedBatch
from p2p.ledger.apply_operation import body_of, is_signed
from p2p.ledger.rules.ops import SignedOp

Transaction = SignedBatch | SignedOp

_OPERATION_HEAD = bytes((0x82, RecordKind.OP))  # how a Record of this kind begins; a SignedBatch begins with an array in an array


def pack_operation(signed: SignedOp) -> bytes:
    """The transaction of one order: a record by itself, for the account's signature is the only one it needs."""
    return encode(Record(RecordKind.OP, encode(signed)))


def read(raw: bytes) -> Transaction:
    """By its form alone. Raises RemoteProtocolError naming the field."""
    if raw[:2] == _OPERATION_HEAD:
        return unpack(SignedOp, unpack(Record, raw, limit=MAX_TX).body)
    return unpack(SignedBatch, raw, limit=MAX_TX)


def parse(genesis: Genesis, raw: bytes) -> Transaction:
    """Form, version and network, in order of their cost. Raises RemoteProtocolError naming the field."""
    found = read(raw)
    if isinstance(found, SignedOp):
        if found.op.network != genesis.network:
            raise RemoteProtocolError(f"this is network {genesis.network}", field="network")
        body_of(found.op)
        return found
    batch = found.batch
    if batch.version != VERSION:
        raise RemoteProtocolError(unsupported_version("protocol", batch.version, VERSION), field="version")
    if batch.network != genesis.network:
        raise RemoteProtocolError(f"this is network {genesis.network}", field="network")
    if not 0 < len(batch.records) <= MAX_RECORDS_PER_TX:
        raise RemoteProtocolError("an empty batch, or too many records", field="records")
    return found


def check_signature(genesis: Genesis, tx: Transaction) -> None:
    """The dear check, so it comes last. Raises RemoteProtocolError."""
    if isinstance(tx, SignedOp):
        if not is_signed(genesis, tx):
            raise RemoteProtocolError("not signed by the account's key", field="signature")
    elif not verify(tx.batch.sender, Domain.TX, genesis.network, encode(tx.batch), tx.signature):
        raise RemoteProtocolError("not signed by the sender", field="signature")
