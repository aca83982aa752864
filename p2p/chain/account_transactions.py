"""Transactions of accounts, as one peer takes them from clients.

Law: what the chain would refuse now is not taken, and the sender is told which field; what was taken is published again
until it ends, and whoever asks is told how it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, Unavailable
from p2p.base.limits import MEMPOOL_ACCOUNT_TXS, REPEAT_HEIGHTS, STALE_TIP_S
from p2p.chain.transaction_fates import UNKNOWN
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.transactions import pack_operation
from p2p.wire.answers.accounts import Taken, TransactionAnswer

if TYPE_CHECKING:
    from p2p.chain.chain import Chain


class AccountTransactions:
    """Those that were taken here and have not ended. clock: seconds since 1970."""

    def __init__(self, chain: Chain, clock: Callable[[], float] = time.time) -> None:
        self._chain, self._clock = chain, clock
        self._taken: dict[bytes, int] = {}  # transaction -> height at which it was published last

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, signed: SignedOp) -> tuple[bytes | None, Taken]:
        """Check it and keep it. Returns what to publish now, and the answer: taken, not yet on chain. Raises
        FolkmootError naming the field.

        One that is here already is taken again and not published (`due` does that): otherwise whoever submits it would
        decide how much this peer publishes.
        """
        chain, raw = self._chain, pack_operation(signed)
        new = not chain.pool.mempool.known(raw)
        if new:
            if chain.pool.operation_waits(signed.op.account, signed.op.nonce):
                raise InvalidRequest(
                    f"nonce {signed.op.nonce} is on its way to the chain", field="nonce", code="nonce_waits"
                )
            if len(self._taken) >= MEMPOOL_ACCOUNT_TXS:
                raise Overloaded("too many transactions wait for the chain; try another peer", field="transaction")
            try:
                chain.pool.add(raw)
            except Overloaded:
                raise
            except FolkmootError as error:
                raise self._explained(error) from error
        self._taken.setdefault(raw, chain.height())
        answer = Taken(signed.op_id.hex(), signed.op.kind.name.lower(), signed.op.nonce, chain.height())
        return raw if new else None, answer

    def _explained(self, error: FolkmootError) -> FolkmootError:
        """The error, with what the sender can do about it. A peer that is behind says so, because its refusal is worth
        nothing."""
        old_s = self._clock() - self._chain.last_time_ms() / 1000
        if error.field != "signature" and old_s > STALE_TIP_S:
            return Unavailable(
                f"{error.message}; but the newest block here, {self._chain.height()}, is {old_s:.0f} s old: this peer"
                " may still be catching up; wait for it, or ask another one", field=error.field,
            )
        return error if not isinstance(error, Unavailable) else InvalidRequest(
            f"{error.message}, at height {self._chain.height()}", field=error.field
        )

    def due(self) -> list[bytes]:
        """Those to be published again: they were taken here and still wait. What ended is forgotten."""
        height, found = self._chain.height(), []
        self._taken = {raw: said for raw, said in self._taken.items() if self._chain.pool.mempool.known(raw)}
        for raw, said in self._taken.items():
            if height - said >= REPEAT_HEIGHTS:
                self._taken[raw] = height
                found.append(raw)
        return found

    def fate(self, op_id: bytes) -> TransactionAnswer:
        """What became of a transaction, whichever peer took it."""
        found = self._chain.pool.fates.find(op_id)
        if found is None:
            return TransactionAnswer(op_id.hex(), UNKNOWN, self._chain.height(), "", "", "")
        return TransactionAnswer(
            op_id.hex(), found.state.value, found.height, found.code, found.field, found.reason
        )
