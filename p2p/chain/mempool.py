"""Transactions waiting for a block.

Law: each kind of sender has room of its own, and within it whoever takes least is pushed out last, so a flood never
takes the place of somebody who sends a little.

There are three shares: participants with weight, participants without, transactions of accounts. A full share makes
room at the cost of the owner who holds most of it (of accounts: the one with the least behind it), never at the cost
of one who holds less than the newcomer would. Bytes that were refused for themselves are not looked at again. A
transaction that was passed on is not passed on again for a while, whatever wrapping it returns in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from heapq import heapify, heapreplace

from p2p.base.errors import InvalidRequest, Overloaded
from p2p.base.limits import (
    GAP_TTL_HEIGHTS,
    MAX_ACCOUNT_TXS_PER_BLOCK,
    MAX_TXS_PER_ACCOUNT,
    MAX_TXS_PER_BLOCK,
    MEMPOOL_ACCOUNT_TXS,
    MEMPOOL_ENTRY,
    MEMPOOL_PER_SENDER,
    MEMPOOL_WEIGHTLESS,
    MEMPOOL_WEIGHTY,
    REPEAT_HEIGHTS,
    TX_TTL_HEIGHTS,
)
from p2p.base.merkle import leaf_hash

REMEMBERED = 4096
RESERVED = 8  # one part in so many of a block is for account transactions, and one for participants without weight

NonceOf = Callable[[bytes], int]  # a sender's last nonce on chain


class Share(Enum):
    """(capacity, what one owner may hold of it): bytes with a sum for each transaction, or a count of transactions."""

    WEIGHTY = (MEMPOOL_WEIGHTY, MEMPOOL_PER_SENDER)
    WEIGHTLESS = (MEMPOOL_WEIGHTLESS, MEMPOOL_PER_SENDER)
    ACCOUNTS = (MEMPOOL_ACCOUNT_TXS, MAX_TXS_PER_ACCOUNT)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One transaction."""

    raw: bytes
    owner: bytes  # a batch's sender, or an account
    nonce: int
    share: Share
    height: int  # at which it came
    stake: int = 0  # what stands behind the account; 0 for a batch

    @property
    def cost(self) -> int:
        return 1 if self.share is Share.ACCOUNTS else len(self.raw) + MEMPOOL_ENTRY


@dataclass(slots=True)
class _Owner:
    """What waits of one owner in one share, by nonce, in order of arrival; what it costs together."""

    leaves: dict[int, bytes] = field(default_factory=dict)
    cost: int = 0
    stake: int = 0

    def eviction_rank(self, more: int = 0) -> tuple[int, int]:
        """The greater, the sooner it is pushed out."""
        return self.cost + more, -self.stake


class Mempool:
    """By the leaf hash that a block's tx_root is made of, in order of arrival."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Waiting] = {}
        self._owners: dict[Share, dict[bytes, _Owner]] = {share: {} for share in Share}
        self._filled = dict.fromkeys(Share, 0)
        self._refused: OrderedDict[bytes, int] = OrderedDict()
        self._said: OrderedDict[bytes, int] = OrderedDict()  # at which height it was handed on
        self._served: dict[bytes, int] = {}  # sender -> height of the last block that took something of it

    def __len__(self) -> int:
        return len(self._waiting)

    def known(self, raw: bytes) -> bool:
        return leaf_hash(raw) in self._waiting

    def find(self, leaf: bytes) -> bytes | None:
        """The transaction with this leaf hash."""
        found = self._waiting.get(leaf)
        return found.raw if found else None

    def was_refused(self, raw: bytes) -> bool:
        return leaf_hash(raw) in self._refused

    def refuse(self, raw: bytes) -> None:
        """Its bytes alone are wrong: they will be so whatever the chain says."""
        _note(self._refused, leaf_hash(raw), 0)

    def is_news(self, raw: bytes, height: int) -> bool:
        """Whether it may be handed on: once, and again only when it has waited for REPEAT_HEIGHTS."""
        leaf = leaf_hash(raw)
        said = self._said.get(leaf)
        if said is not None and height - said < REPEAT_HEIGHTS:
            return False
        _note(self._said, leaf, height)
        return True

    # -- in -------------------------------------------------------------------------------------------------------

    def check_room(self, tx: Waiting) -> list[bytes]:
        """Leaf hashes of what would have to go for it. Raises InvalidRequest (known already) or Overloaded (no
        room)."""
        owner = self._owners[tx.share].get(tx.owner) or _Owner(stake=tx.stake)
        if tx.nonce in owner.leaves:
            raise InvalidRequest(f"number {tx.nonce} of this sender waits already", field="nonce", code="known")
        capacity, most = tx.share.value
        if owner.cost + tx.cost > most:
            raise Overloaded("this sender has too many transactions waiting; wait for the next block", field="sender")
        return self._to_go(tx, owner, self._filled[tx.share] + tx.cost - capacity)

    def add(self, tx: Waiting) -> list[Waiting]:
        """What had to go for it. Raises as check_room."""
        pushed = [self._drop(leaf) for leaf in self.check_room(tx)]
        leaf = leaf_hash(tx.raw)
        owner = self._owners[tx.share].setdefault(tx.owner, _Owner())
        owner.leaves[tx.nonce], owner.cost, owner.stake = leaf, owner.cost + tx.cost, tx.stake
        self._filled[tx.share] += tx.cost
        self._waiting[leaf] = tx
        return pushed

    def _to_go(self, tx: Waiting, owner: _Owner, needed: int) -> list[bytes]:
        """Leaf hashes of what makes room for `needed`: each time the last transaction of the owner who is first to be
        pushed out by then. Raises Overloaded where that would reach an owner who holds no more than the newcomer; then
        nothing is dropped."""
        mine, found = owner.eviction_rank(tx.cost), list[bytes]()
        if needed <= 0:
            return found
        owners = list(self._owners[tx.share].values())
        left = [sorted(other.leaves) for other in owners]  # nonces, of which the highest goes first
        heap = [(-other.cost, other.stake, at) for at, other in enumerate(owners)]
        heapify(heap)
        while needed > 0:
            cost, stake, at = heap[0] if heap else (0, 0, 0)
            if (-cost, -stake) <= mine:
                raise Overloaded("the mempool is full; try again after the next block", field="transaction")
            leaf = owners[at].leaves[left[at].pop()]
            found.append(leaf)
            needed -= self._waiting[leaf].cost
            heapreplace(heap, (cost + self._waiting[leaf].cost, stake, at))
        return found

    def _drop(self, leaf: bytes) -> Waiting:
        tx = self._waiting.pop(leaf)
        owners = self._owners[tx.share]
        owner = owners[tx.owner]
        del owner.leaves[tx.nonce]
        owner.cost -= tx.cost
        self._filled[tx.share] -= tx.cost
        if not owner.leaves:
            del owners[tx.owner]
        return tx

    def drop(self, raw: bytes) -> Waiting:
        """It may not be in a block any more."""
        return self._drop(leaf_hash(raw))

    # -- out ------------------------------------------------------------------------------------------------------

    def operations_of(self, account: bytes) -> list[bytes]:
        """The transactions of an account that wait, by nonce, as a block would take them."""
        owner = self._owners[Share.ACCOUNTS].get(account)
        return [self._waiting[leaf].raw for _, leaf in sorted(owner.leaves.items())] if owner else []

    def operation_nonces(self, account: bytes) -> list[int]:
        """The nonces of an account's transactions that wait."""
        owner = self._owners[Share.ACCOUNTS].get(account)
        return sorted(owner.leaves) if owner else []

    def select_operations(self, max_bytes: int) -> list[bytes]:
        """Every account's first transaction, from the account with the most behind it, then every account's second, and
        so on; at most a share of max_bytes."""
        owners = sorted(self._owners[Share.ACCOUNTS].values(), key=lambda owner: -owner.stake)
        queues = [[self._waiting[leaf].raw for _, leaf in sorted(owner.leaves.items())] for owner in owners]
        turns = [queue[turn] for turn in range(MAX_TXS_PER_ACCOUNT) for queue in queues if turn < len(queue)]
        chosen, size = list[bytes](), 0
        for raw in turns[:MAX_ACCOUNT_TXS_PER_BLOCK]:
            if size + len(raw) + 8 <= max_bytes // RESERVED:
                chosen.append(raw)
                size += len(raw) + 8
        return chosen

    def select(self, max_bytes: int, nonce_of: NonceOf, *, count: int = MAX_TXS_PER_BLOCK) -> tuple[bytes, ...]:
        """Batches within max_bytes: every sender's next one, then every sender's one after that, and so on, beginning
        with the senders that a block served longest ago. A part is for participants without weight, the rest for those
        with weight; what these leave is for all. A sender's nonces follow each other without a gap."""
        last = cache(nonce_of)
        reserved = self._turns(Share.WEIGHTLESS, {}, max_bytes // RESERVED, count // RESERVED, last)
        small = sum(map(_room, reserved))
        weighty = self._turns(Share.WEIGHTY, {}, max_bytes - small, count - len(reserved), last)
        taken: dict[bytes, int] = {}
        for raw in reserved:
            tx = self._waiting[leaf_hash(raw)]
            taken[tx.owner] = tx.nonce
        left = max_bytes - small - sum(map(_room, weighty))
        more = self._turns(Share.WEIGHTLESS, taken, left, count - len(reserved) - len(weighty), last)
        return (*weighty, *reserved, *more)

    def _turns(
        self, share: Share, taken: dict[bytes, int], max_bytes: int, count: int, nonce_of: NonceOf
    ) -> list[bytes]:
        """taken: sender -> the last of its nonces that is in the block already."""
        owners = self._owners[share]
        turn = {
            sender: max(nonce_of(sender), taken.get(sender, 0)) + 1
            for sender in sorted(owners, key=lambda owner: self._served.get(owner, -1))
        }
        chosen, size = list[bytes](), 0
        while turn and len(chosen) < count:
            for sender, nonce in list(turn.items()):
                leaf = owners[sender].leaves.get(nonce)
                raw = self._waiting[leaf].raw if leaf else b""
                if not raw or size + _room(raw) > max_bytes or len(chosen) >= count:
                    del turn[sender]  # what comes after it would overtake it
                    continue
                chosen.append(raw)
                size += _room(raw)
                turn[sender] = nonce + 1
        return chosen

    def is_ready(self, nonce_of: NonceOf) -> bool:
        """Whether a block could take anything of it."""
        if self._owners[Share.ACCOUNTS]:
            return True
        batches = (self._owners[share] for share in (Share.WEIGHTY, Share.WEIGHTLESS))
        return any(nonce_of(sender) + 1 in owner.leaves for owners in batches for sender, owner in owners.items())

    def after_block(
        self, nonce_of: NonceOf, height: int, is_used: Callable[[bytes, int], bool] = lambda account, nonce: False
    ) -> tuple[list[Waiting], list[Waiting]]:
        """Forget what is included or overtaken, and what waited too long; what waits behind a gap may wait less.
        Returns the account transactions among them: those whose nonce is used, and those that no block took in
        time."""
        for owner in [who for share in (Share.WEIGHTY, Share.WEIGHTLESS) for who in list(self._owners[share].items())]:
            self._settle_batches(*owner, nonce_of(owner[0]), height)
        self._served = {who: at for who, at in self._served.items() if height - at < TX_TTL_HEIGHTS}
        used, late = list[Waiting](), list[Waiting]()
        leaves = [leaf for owner in self._owners[Share.ACCOUNTS].values() for leaf in owner.leaves.values()]
        for tx in [self._waiting[leaf] for leaf in leaves]:
            if is_used(tx.owner, tx.nonce):
                used.append(self.drop(tx.raw))
            elif height - tx.height > TX_TTL_HEIGHTS:
                late.append(self.drop(tx.raw))
        return used, late

    def _settle_batches(self, sender: bytes, owner: _Owner, last: int, height: int) -> None:
        reached = last
        while reached + 1 in owner.leaves:
            reached += 1
        for nonce, leaf in list(owner.leaves.items()):
            if nonce <= last:
                self._served[sender] = height
            waits = TX_TTL_HEIGHTS if nonce <= reached else GAP_TTL_HEIGHTS
            if nonce <= last or height - self._waiting[leaf].height > waits:
                self._drop(leaf)


def _room(raw: bytes) -> int:
    """What it takes of a block."""
    return len(raw) + 8


def _note(table: OrderedDict[bytes, int], leaf: bytes, height: int) -> None:
    table[leaf] = height
    table.move_to_end(leaf)
    while len(table) > REMEMBERED:
        table.popitem(last=False)
