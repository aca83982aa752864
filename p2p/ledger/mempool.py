"""Transactions waiting for a block. Law: bounded in all, bounded per sender; what was refused once is not looked at again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from p2p.errors import InvalidRequest, Overloaded
from p2p.keys import digest
from p2p.limits import MAX_MEMPOOL, MAX_MEMPOOL_PER_SENDER, MAX_TXS_PER_BLOCK, TX_TTL_HEIGHTS
from p2p.types import SignedBatch

REMEMBERED = 4096


class Mempool:
    """Keeps (raw, sender, nonce, height of arrival) by hash, in order of arrival."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, tuple[bytes, bytes, int, int]] = OrderedDict()
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def known(self, raw: bytes) -> bool:
        return digest(raw) in self._waiting

    def was_refused(self, raw: bytes) -> bool:
        return digest(raw) in self._refused

    def refuse(self, raw: bytes) -> None:
        self._refused[digest(raw)] = None
        while len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)

    def add(self, raw: bytes, signed: SignedBatch, height: int) -> None:
        """Raises Overloaded (full) or InvalidRequest (known already)."""
        if self.known(raw):
            raise InvalidRequest("known already", field="transaction", code="known")
        if len(self._waiting) >= MAX_MEMPOOL:
            raise Overloaded("the mempool is full; try again after the next block", field="transaction")
        sender = signed.batch.sender
        if sum(1 for _, s, _, _ in self._waiting.values() if s == sender) >= MAX_MEMPOOL_PER_SENDER:
            raise Overloaded("this sender has too many transactions waiting", field="sender")
        self._waiting[digest(raw)] = (raw, sender, signed.batch.nonce, height)

    def select(self, max_bytes: int) -> tuple[bytes, ...]:
        """At most one transaction per sender (its lowest nonce), in order of arrival, within max_bytes."""
        lowest: dict[bytes, tuple[int, bytes]] = {}
        for raw, sender, nonce, _ in self._waiting.values():
            if sender not in lowest or nonce < lowest[sender][0]:
                lowest[sender] = (nonce, raw)
        chosen: list[bytes] = []
        size = 0
        for _, raw in lowest.values():
            if len(chosen) < MAX_TXS_PER_BLOCK and size + len(raw) + 8 <= max_bytes:
                chosen.append(raw)
                size += len(raw) + 8
        return tuple(chosen)

    def settle(self, nonce_of: Callable[[bytes], int], height: int) -> None:
        """Forget what is included or overtaken (nonce <= the sender's on chain) and what waited too long."""
        for key, (_, sender, nonce, arrived) in list(self._waiting.items()):
            if nonce <= nonce_of(sender) or height - arrived > TX_TTL_HEIGHTS:
                del self._waiting[key]
