"""What a block carries: batches of participants' records, and account transactions by themselves. Law: nothing here
asks the state, so what is refused here is wrong for every peer.

An account transaction needs no participant to bring it: every account can be heard, also the owner of a peer that is
about to be registered.
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

# How the CBOR of an OP Record begins: an array of two, the kind. A SignedBatch begins with an array in an array.
_OPERATION_HEAD = bytes((0x82, RecordKind.OP))


def pack_operation(signed: SignedOp) -> bytes:
    """The bytes of one account transaction: a record by itself, since the account's signature is the only one it
    needs.
    """
    return encode(Record(RecordKind.OP, encode(signed)))


def read(raw: bytes) -> Transaction:
    """Decode a transaction. Raises RemoteProtocolError naming the field."""
    if raw[:2] == _OPERATION_HEAD:
        return unpack(SignedOp, unpack(Record, raw, limit=MAX_TX).body)
    return unpack(SignedBatch, raw, limit=MAX_TX)


def parse(genesis: Genesis, raw: bytes) -> Transaction:
    """Decode a transaction and check version, network and form. Raises RemoteProtocolError naming the field."""
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
    """Check the signature, the expensive check, after `parse`. Raises RemoteProtocolError(field='signature')."""
    if isinstance(tx, SignedOp):
        if not is_signed(genesis, tx):
            raise RemoteProtocolError("not signed by the account's key", field="signature")
    elif not verify(tx.batch.sender, Domain.TX, genesis.network, encode(tx.batch), tx.signature):
        raise RemoteProtocolError("not signed by the sender", field="signature")
