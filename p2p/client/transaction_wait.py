"""Waits for one's own transaction.

Law: that a peer took it is the peer's word, so the chain is waited for; whatever the peer answers, the wait ends.
Nothing is proved here: `folkmoot prove account` does that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from p2p.base.errors import InvalidRequest, Overloaded, Unavailable
from p2p.chain.transaction_fates import UNKNOWN, USED_BY_ANOTHER, TransactionState
from p2p.wire.answers.accounts import TransactionAnswer
from p2p.wire.answers.reading import read

ASK_EVERY_S = 0.5
MAX_REASON = 300  # characters of a peer's sentence that are repeated

Query = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def wait_for_transaction(
    op_id: bytes, query: Query, again: Callable[[], Awaitable[object]], wait_s: float, peer: str = "asked"
) -> dict[str, Any]:
    """How it ended: state 'done' and the block's height, or 'used' where its nonce is used and the peer has forgotten
    it, or has not seen what used it.

    again: submits the same transaction once more, where the peer does not know it any more. Raises InvalidRequest (it
    was refused, or another one has its nonce) or Unavailable (dropped, or not on chain after wait_s).
    """
    last = "it has not answered"
    with trio.move_on_after(wait_s):
        while True:
            try:
                found = read(
                    TransactionAnswer, await query({"op": "transaction", "id": op_id.hex()}), "transaction", peer
                )
                state = _ended(found)
                if state is None and found.state == UNKNOWN and await _is_used(again):
                    state = str(TransactionState.USED)
                if state is not None:
                    return {"state": state, "height": found.height}
                last = "it waits for a block"
            except Unavailable as error:
                if error.code == "dropped":
                    raise
                last = error.message  # the peer may come back
            await trio.sleep(ASK_EVERY_S)
    raise Unavailable(
        f"the peer took it, and the chain does not have it after {wait_s:.0f} s ({last}); it may still come: look at"
        " the account, or submit the same transaction to another peer", field="transaction",
    )


def _ended(found: TransactionAnswer) -> str | None:
    """'done' or 'used'; None while it waits or is unknown. Raises InvalidRequest or Unavailable for each other end."""
    reason = found.reason[:MAX_REASON]
    if found.state == TransactionState.REFUSED:
        raise InvalidRequest(f"the block at height {found.height} refused it: {reason}", field=found.field)
    if found.state == TransactionState.DROPPED:
        raise Unavailable(
            f"the peer dropped it at height {found.height}: {reason}; its nonce is free, so it may be submitted again",
            field="transaction", code="dropped",
        )
    if found.state == TransactionState.USED and found.code == USED_BY_ANOTHER:
        raise InvalidRequest(f"it is not carried out: {reason}", field="nonce", code=USED_BY_ANOTHER)
    return found.state if found.state in (TransactionState.DONE, TransactionState.USED) else None


async def _is_used(again: Callable[[], Awaitable[object]]) -> bool:
    """Submit it again; whether its nonce has been used meanwhile, most likely by itself."""
    try:
        await again()
    except Overloaded:
        return False
    except InvalidRequest as error:
        if error.code != "nonce_used":  # another transaction with this nonce waits, or the nonce is too far ahead
            raise
        return True
    return False
