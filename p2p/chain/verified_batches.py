"""Transactions whose form and signature were found right.

Law: what is here passed once, as exactly these bytes. Bounded: the oldest leave first. A transaction is opened when
gossip brings it, when it is proposed, and when it is applied: checking it once is enough.
"""

from __future__ import annotations

from p2p.base.limits import MAX_BLOCK
from p2p.ledger.transactions import Transaction

MAX_BYTES = 2 * MAX_BLOCK  # the transactions of a whole block, and of the one that is gathering


class VerifiedBatches:
    """By their bytes."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Transaction] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, raw: bytes) -> Transaction | None:
        return self._kept.get(raw)

    def keep(self, raw: bytes, tx: Transaction) -> None:
        self._bytes += len(raw) if raw not in self._kept else 0
        self._kept[raw] = tx
        while self._bytes > MAX_BYTES:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._bytes -= len(oldest)
