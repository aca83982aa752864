"""A proposal on its way by gossip. Law: its header says which transactions the block has; the transactions themselves stay behind.

Every peer has most of them from topic `transactions`; their leaf hashes are what the signed header's tx_root is made of, so a list of
others is refused before anything is fetched, and every transaction is checked by itself, whoever gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p.base.codec import Message, encode, load, unpack
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.keys import NetworkId
from p2p.base.limits import MAX_BLOCK, MAX_GOSSIP, MAX_TXS_PER_BLOCK
from p2p.base.merkle import leaf_hash
from p2p.base.types import U32, U64, VERSION, Bytes32
from p2p.consensus.certificates import Knows, unknown
from p2p.consensus.evidence import MAX_EVIDENCE_BYTES, PER_BLOCK
from p2p.consensus.header import body_root
from p2p.consensus.message_checks import is_right_claim
from p2p.consensus.messages import Block, SignedProposal
from p2p.consensus.validators import ValidatorSet

FindTx = Callable[[bytes], bytes | None]  # by leaf hash


class CompactProposal(Message, frozen=True):
    """signed: its block has no transactions here. leaves: their leaf hashes, in order. retry: lets a repeat pass gossip's filter."""

    version: U32
    retry: U64
    signed: SignedProposal
    leaves: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_TXS_PER_BLOCK)]

    def is_right(self, network: NetworkId, members: ValidatorSet, knows: Knows = unknown) -> bool:
        """By itself, before any transaction is at hand."""
        block = self.signed.block
        covered = block.header.tx_root == body_root(self.leaves, block.last_commit, block.evidence)
        return covered and is_right_claim(self.signed, network, members, knows)


def shrink(data: bytes) -> bytes:
    """The compact form of a whole proposal, which the driver packed (wire.pack)."""
    _, retry, _, signed = load(tuple[int, int, int, SignedProposal], data)
    leaves = tuple(map(leaf_hash, signed.block.txs))
    return encode(CompactProposal(VERSION, retry, replace(signed, block=replace(signed.block, txs=())), leaves))


def parse(data: bytes) -> CompactProposal:
    """Raises RemoteProtocolError naming the field."""
    found = unpack(CompactProposal, data, limit=MAX_GOSSIP)
    if found.version != VERSION:
        raise RemoteProtocolError(unsupported_version("protocol", found.version, VERSION), field="version", code="version")
    if found.signed.block.txs:
        raise RemoteProtocolError("a compact proposal carries no transactions", field="txs", code="shape")
    evidence = found.signed.block.evidence
    if len(evidence) > PER_BLOCK or any(len(raw) > MAX_EVIDENCE_BYTES for raw in evidence):
        raise RemoteProtocolError(f"at most {PER_BLOCK} pieces of {MAX_EVIDENCE_BYTES} bytes", field="evidence", code="shape")
    return found


class Assembly:
    """One proposal and those of its transactions that are here. `missing` are places in the block; `fill` takes them from outside."""

    def __init__(self, compact: CompactProposal, find: FindTx, known: Block | None = None) -> None:
        """known: the same block, when it is here whole already."""
        self._signed, self._leaves = compact.signed, compact.leaves
        self._txs: list[bytes | None] = list(known.txs) if known else [find(leaf) for leaf in compact.leaves]
        self.proposal = compact.signed.proposal
        self.height, self.block_id = self.proposal.height, self.proposal.block_id

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(place for place, raw in enumerate(self._txs) if raw is None)

    def fill(self, txs: Sequence[bytes]) -> None:
        """All that are missing, in order. Raises RemoteProtocolError when they are not those of the block; then nothing is kept."""
        places = self.missing
        if len(txs) != len(places) or any(leaf_hash(raw) != self._leaves[place] for place, raw in zip(places, txs, strict=True)):
            raise RemoteProtocolError("these are not the transactions of that block", field="txs", code="body")
        kept = sum(len(raw) for raw in self._txs if raw is not None)
        if kept + sum(map(len, txs)) > MAX_BLOCK:
            raise RemoteProtocolError("more transactions than a block may hold", field="txs", code="too_large")
        for place, raw in zip(places, txs, strict=True):
            self._txs[place] = raw

    def whole(self) -> SignedProposal:
        """What the proposer signed, once nothing is missing."""
        txs = tuple(raw for raw in self._txs if raw is not None)
        assert len(txs) == len(self._leaves)
        return replace(self._signed, block=replace(self._signed.block, txs=txs))
