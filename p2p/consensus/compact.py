"""A proposal as it travels by gossip: without its transactions, with their hashes. Law: the signed header covers the
list.

Every peer has most transactions from the topic `transactions` already. The header's tx_root is made of their leaf
hashes, so a list of others is refused before anything is fetched, and each transaction is checked by its hash, whoever
gives it.
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
from p2p.consensus.certificates import IsVerified, none_verified
from p2p.consensus.evidence import PER_BLOCK
from p2p.consensus.header import body_root
from p2p.consensus.message_checks import is_right_claim
from p2p.consensus.messages import MAX_EVIDENCE_BYTES, Block, SignedProposal
from p2p.consensus.validators import ValidatorSet

FindTx = Callable[[bytes], bytes | None]  # by leaf hash


class CompactProposal(Message, frozen=True):
    """A signed proposal whose block holds no transactions, and the hashes of those that belong there."""

    version: U32
    retry: U64  # counts repeats, so that one passes gossip's duplicate filter
    signed: SignedProposal
    leaves: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_TXS_PER_BLOCK)]  # leaf hashes in the block's order

    def is_right(self, network: NetworkId, members: ValidatorSet, is_verified: IsVerified = none_verified) -> bool:
        """All that can be checked before any transaction is here."""
        block = self.signed.block
        covered = block.header.tx_root == body_root(self.leaves, block.last_commit, block.evidence)
        return covered and is_right_claim(self.signed, network, members, is_verified)


def compact(data: bytes) -> CompactProposal:
    """The compact form of a whole proposal, as packed by wire.pack."""
    _, retry, _, signed = load(tuple[int, int, int, SignedProposal], data)
    leaves = tuple(map(leaf_hash, signed.block.txs))
    return CompactProposal(VERSION, retry, replace(signed, block=replace(signed.block, txs=())), leaves)


def shrink(data: bytes) -> bytes:
    """The same, as it travels."""
    return encode(compact(data))


def parse(data: bytes) -> CompactProposal:
    """Raises RemoteProtocolError naming the field."""
    found = unpack(CompactProposal, data, limit=MAX_GOSSIP)
    if found.version != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", found.version, VERSION), field="version", code="version"
        )
    if found.signed.block.txs:
        raise RemoteProtocolError("a compact proposal carries no transactions", field="txs", code="shape")
    evidence = found.signed.block.evidence
    if len(evidence) > PER_BLOCK or any(len(raw) > MAX_EVIDENCE_BYTES for raw in evidence):
        raise RemoteProtocolError(
            f"a block carries at most {PER_BLOCK} pieces of evidence, of at most {MAX_EVIDENCE_BYTES} bytes each",
            field="evidence", code="shape",
        )
    return found


class Assembly:
    """One proposal and those of its transactions that are here. `missing` are indices in the block; `fill` takes
    what was fetched for them."""

    def __init__(self, compact: CompactProposal, find: FindTx, known: Block | None = None) -> None:
        """find: a transaction by its leaf hash, when this peer has it. known: the same block, when it is here whole."""
        self._signed, self._leaves = compact.signed, compact.leaves
        self._txs: list[bytes | None] = list(known.txs) if known else [find(leaf) for leaf in compact.leaves]
        self.proposal = compact.signed.proposal
        self.height, self.block_id = self.proposal.height, self.proposal.block_id
        self.source = ""  # the peer id that what is missing is fetched from
        self.sources: tuple[str, ...] = ()  # peer ids that may have it
        self.tried: set[str] = set()

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(place for place, raw in enumerate(self._txs) if raw is None)

    def fill(self, txs: Sequence[bytes]) -> None:
        """Take all missing transactions, in order. Raises RemoteProtocolError when they are not those of the block;
        then none is kept."""
        places = self.missing
        if len(txs) != len(places) or any(
            leaf_hash(raw) != self._leaves[place] for place, raw in zip(places, txs, strict=True)
        ):
            raise RemoteProtocolError("these are not the transactions of that block", field="txs", code="body")
        kept = sum(len(raw) for raw in self._txs if raw is not None)
        if kept + sum(map(len, txs)) > MAX_BLOCK:
            raise RemoteProtocolError(
                f"more transactions than a block may hold: at most {MAX_BLOCK} bytes", field="txs", code="too_large"
            )
        for place, raw in zip(places, txs, strict=True):
            self._txs[place] = raw

    def whole(self) -> SignedProposal:
        """The proposal as its proposer signed it. Call it when nothing is missing."""
        txs = tuple(raw for raw in self._txs if raw is not None)
        assert len(txs) == len(self._leaves)
        return replace(self._signed, block=replace(self._signed.block, txs=txs))
