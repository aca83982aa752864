"""Transactions waiting for a block. Law: bounded in all, bounded per sender; what was refused once is not looked at again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache

from p2p.errors import InvalidRequest, Overloaded
from p2p.limits import MAX_MEMPOOL, MAX_MEMPOOL_PER_SENDER, MAX_TXS_PER_BLOCK, TX_TTL_HEIGHTS
from p2p.merkle import leaf_hash
from p2p.types import SignedBatch

REMEMBERED = 4096


class Mempool:
    """Keeps (raw, sender, nonce, height of arrival) by the leaf hash that a block's tx_root is made of, in order of arrival."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, tuple[bytes, bytes, int, int]] = OrderedDict()
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def known(self, raw: bytes) -> bool:
        return leaf_hash(raw) in self._waiting

    def find(self, leaf: bytes) -> bytes | None:
        """The transaction with this leaf hash."""
        found = self._waiting.get(leaf)
        return found[0] if found else None

    def was_refused(self, raw: bytes) -> bool:
        return leaf_hash(raw) in self._refused

    def refuse(self, raw: bytes) -> None:
        self._refused[leaf_hash(raw)] = None
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
        self._waiting[leaf_hash(raw)] = (raw, sender, signed.batch.nonce, height)

    def select(self, max_bytes: int, nonce_of: Callable[[bytes], int]) -> tuple[bytes, ...]:
        """Within max_bytes: every sender's next transaction in order of arrival, then every sender's one after that, and so on.
        nonce_of: the sender's last nonce on chain. A sender's nonces follow each other without a gap."""
        waiting: dict[bytes, dict[int, bytes]] = {}
        for raw, sender, nonce, _ in self._waiting.values():
            waiting.setdefault(sender, {}).setdefault(nonce, raw)
        turn = {sender: nonce_of(sender) + 1 for sender in waiting}
        chosen: list[bytes] = []
        size = 0
        while turn and len(chosen) < MAX_TXS_PER_BLOCK:
            for sender, nonce in list(turn.items()):
                raw = waiting[sender].get(nonce, b"")
                if not raw or size + len(raw) + 8 > max_bytes or len(chosen) >= MAX_TXS_PER_BLOCK:
                    del turn[sender]  # what comes after it would overtake it
                    continue
                chosen.append(raw)
                size += len(raw) + 8
                turn[sender] = nonce + 1
        return tuple(chosen)

    def settle(self, nonce_of: Callable[[bytes], int], height: int) -> None:
        """Forget what is included or overtaken (nonce <= the sender's on chain) and what waited too long."""
        last = cache(nonce_of)
        for key, (_, sender, nonce, arrived) in list(self._waiting.items()):
            if nonce <= last(sender) or height - arrived > TX_TTL_HEIGHTS:
                del self._waiting[key]
