"""A value of the state that anyone can check offline: the tree's proof, and headers up to the one with its root.

Law: data and one pure check; every byte is hashed or signed, and nothing else is believed. Canonical CBOR. The value is
of the state after height h; header h + 1, the last of `way`, holds the app hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from p2p.base import merkle
from p2p.base.codec import Message, decode, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError, unsupported_version
from p2p.base.keys import NetworkId
from p2p.base.limits import MAX_FRAME
from p2p.base.types import U32, U64, VERSION, Bytes32, Short
from p2p.consensus.light import MAX_AHEAD_MS, TRUSTING_MS, Facts, LightBlock, LightVerdict, facts_of, judge
from p2p.ledger.inferences.pruning import leaf_of
from p2p.ledger.state import keys
from p2p.ledger.state.proofs import TreeProof, implied_root
from p2p.ledger.state.records import Account, EpochSums, Inference, Participant
from p2p.ledger.state.tree import app_hash

MAX_WAY = 64  # headers: more than log2 of any number of heights
KINDS: dict[str, tuple[Callable[[bytes], bytes], type[Account] | type[Inference] | type[Participant]]] = {
    "account": (keys.account, Account), "inference": (keys.inference, Inference),
    "participant": (keys.participant, Participant),
}  # kind -> (id -> key of the state, its record)


class ArchiveProof(Message, frozen=True):
    """That an inference ended in an epoch and left the state."""

    epoch: U64
    index: U64  # of its leaf under the root in that epoch's sums
    record: Annotated[bytes, Meta(max_length=MAX_FRAME // 4)]  # its last one
    path: Annotated[tuple[Bytes32, ...], Meta(max_length=64)]  # from the leaf up to the root


class StateProof(Message, frozen=True):
    """What the state says of an account, inference or participant, or that it says nothing."""

    version: U32
    kind: Short  # one of KINDS
    id: Bytes32
    # canonical bytes of the record; None: there is none
    value: Annotated[bytes, Meta(max_length=MAX_FRAME // 4)] | None
    proof: TreeProof
    # each header is trusted because of the one before, the first because of the genesis file or the reader's own trust
    way: Annotated[tuple[LightBlock, ...], Meta(min_length=1, max_length=MAX_WAY)]
    # of an inference that left the state; then value and proof are of its epoch's sums
    left: ArchiveProof | None

    @property
    def height(self) -> int:
        """The value is of the state after this height."""
        return self.way[-1].header.height - 1

    def record(self) -> Account | Inference | Participant | None:
        raw = self.left.record if self.left else self.value
        return None if raw is None else unpack(KINDS[self.kind][1], raw)


def key_of(kind: str, id_: bytes) -> bytes:
    """Where the state keeps it. Raises InvalidRequest for another kind."""
    if kind not in KINDS:
        raise InvalidRequest(f"what can be proved is one of {', '.join(KINDS)}", field="kind")
    return KINDS[kind][0](id_)


def parse_state_proof(data: bytes) -> StateProof:
    """Any bytes to a proof that is not checked yet. Raises RemoteProtocolError naming the field."""
    plain = decode(data, limit=MAX_FRAME)
    if isinstance(plain, list) and plain and plain[0] != VERSION:
        raise RemoteProtocolError(unsupported_version("proof", plain[0], VERSION), field="version", code="version")
    return unpack(StateProof, data, limit=MAX_FRAME)


def named(proof: StateProof, network: NetworkId, height: int, block_id: bytes) -> Facts:
    """Trust the first header of the way because the reader knows it. Raises RemoteProtocolError when it is another
    one."""
    first = proof.way[0]
    if (first.header.height, first.header.block_id) != (height, block_id):
        raise RemoteProtocolError(
            f"the proof's way begins at header {first.header.height}:{first.header.block_id.hex()}, not at the one you"
            " trust", field="trusted",
        )
    facts = facts_of(first, network)
    if not facts.hashes_match or any(who not in facts.validators for who in facts.signers):
        raise RemoteProtocolError("a validator set is not the one the header names", field="way")
    return facts


def check_state_proof(
    proof: StateProof, start: Facts, network: NetworkId, now_ms: int, trusting_ms: int = TRUSTING_MS
) -> None:
    """Check the way from `start` (the genesis file's facts, or those of `named`), then the tree. Raises
    RemoteProtocolError saying what is wrong."""
    last, begins_here = start, proof.way[0].header.height == start.height
    for block in proof.way[begins_here:]:
        new = facts_of(block, network)
        verdict, why = judge(last, new, now_ms, trusting_ms, ahead_ms=MAX_AHEAD_MS)
        if verdict is not LightVerdict.SUCCESS:
            raise RemoteProtocolError(f"header {new.height} cannot be trusted: {why}", field="way")
        last = new
    if proof.kind not in KINDS:
        raise RemoteProtocolError("nothing of this kind is in the state", field="kind")
    key = keys.epoch_sums(proof.left.epoch) if proof.left else key_of(proof.kind, proof.id)
    root = implied_root(key, proof.value, proof.proof)
    if root is None or app_hash(root) != proof.way[-1].header.app_hash:
        raise RemoteProtocolError("this is not what the header stands for", field="proof")
    if proof.left:
        _check_left(proof.kind, proof.id, proof.value, proof.left)
    proof.record()


def _check_left(kind: str, id_: bytes, value: bytes | None, left: ArchiveProof) -> None:
    """value: the sums of its epoch, believed already."""
    sums = unpack(EpochSums, value) if value is not None else EpochSums()
    if kind != "inference":
        raise RemoteProtocolError("inferences are what leaves the state", field="left")
    root, leaf = sums.left_root, leaf_of(id_, left.record)
    if root is None or not merkle.verify(leaf, left.index, sums.left, left.path, root):
        raise RemoteProtocolError(f"this record is not among those that ended in epoch {left.epoch}", field="left")
