"""Decided blocks, the records that they carry and the ledger refused, and validator sets.

Law: a block is kept with the certificate that decided it; a set is kept under its hash, because headers name it for
ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.codec import encode, load
from p2p.consensus.application import Members
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import Block, CommitCertificate, Header
from p2p.consensus.validators import ValidatorSet
from p2p.ledger.state.records import Receipt
from p2p.store.batch import Batch
from p2p.store.keys import FIRST_BLOCK, height_key
from p2p.store.lmdb import Store


class BlockStore:
    """The database `blocks` of one store. What is written goes into the caller's batch."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, batch: Batch, block: Block, commit: CommitCertificate, receipts: Sequence[Receipt]) -> None:
        height = height_key(block.header.height)
        batch.put("blocks", b"b" + height, encode([encode(block), encode(commit)]))
        batch.put("blocks", b"r" + height, encode(receipts))

    def block(self, height: int) -> tuple[Block, CommitCertificate] | None:
        raw = self._store.read("blocks", b"b" + height_key(height))
        if raw is None:
            return None
        block, commit = load(tuple[bytes, bytes], raw)
        return load(Block, block), load(CommitCertificate, commit)

    def header(self, height: int) -> Header | None:
        found = self.block(height)
        return found[0].header if found else None

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """The records of block `height` that were refused, and why."""
        raw = self._store.read("blocks", b"r" + height_key(height))
        return load(tuple[Receipt, ...], raw) if raw else ()

    def light_block(self, height: int) -> LightBlock | None:
        """Header, certificate and both validator sets of a block that is kept here."""
        found = self.block(height)
        if found is None:
            return None
        header = found[0].header
        names = (header.validators_hash, header.next_validators_hash)
        sets = [self._store.read("blocks", b"v" + name) for name in names]
        return LightBlock(header, found[1], *(load(Members, raw) if raw else () for raw in sets))

    def first_height(self) -> int:
        """The lowest height whose block is kept here: 1, or the one after a snapshot."""
        raw = self._store.read("meta", FIRST_BLOCK)
        return int.from_bytes(raw, "big") if raw else 1


def keep_set(batch: Batch, members: Members) -> None:
    """Keep a validator set under its hash."""
    batch.put("blocks", b"v" + ValidatorSet.of(members).hash(), encode(members))


def keep_first_height(batch: Batch, height: int) -> None:
    """Blocks below `height` are not kept here: the chain begins with a snapshot."""
    batch.put("meta", FIRST_BLOCK, height_key(height))
