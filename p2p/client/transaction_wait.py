"""Waiting for an order of one's own. Law: 'taken' is a peer's word, so one waits for the chain; whatever the peer answers, the wait ends.

Nothing of it is proved here: `folkmoot prove account` is for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from p2p.base.errors import InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.chain.transaction_fates import USED_BY_ANOTHER, OrderState

ASK_EVERY_S = 0.5
UNKNOWN = "unknown"

Query = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def wait_for_transaction(op_id: bytes, query: Query, again: Callable[[], Awaitable[object]], wait_s: float) -> dict[str, Any]:
    """state 'done' and the block's height; 'used' where its nonce is used and the peer has forgotten it, or has not seen what used it. again:
    hands the same order in once more, where the peer does not know it any more. Raises InvalidRequest (refused, or another has its nonce),
    Unavailable (dropped, or not on chain after wait_s)."""
    last = "it has not answered"
    with trio.move_on_after(wait_s):
        while True:
            try:
                found = await query({"op": "transaction", "id": op_id.hex()})
                state, height = _state(found), _number(found)
                if state == OrderState.DONE:
                    return {"state": str(state), "height": height}
                if state == OrderState.REFUSED:
                    raise InvalidRequest(f"the block at height {height} refused it: {_text(found, 'reason')}", field=_text(found, "field"))
                if state == OrderState.USED and _text(found, "code") == USED_BY_ANOTHER:
                    raise InvalidRequest(f"it is not carried out: {_text(found, 'reason')}", field="nonce", code=USED_BY_ANOTHER)
                if state == OrderState.USED:
                    return {"state": str(state), "height": height}
                if state == OrderState.DROPPED:
                    raise Unavailable(
                        f"the peer dropped it at height {height}: {_text(found, 'reason')}; its nonce is free, so it may be given again",
                        field="transaction", code="dropped",
                    )
                if state == UNKNOWN and await _is_used(again):
                    return {"state": "used", "height": height}
                last = "it waits for a block"
            except Unavailable as error:
                if error.code == "dropped":
                    raise
                last = error.message  # the peer may come back
            await trio.sleep(ASK_EVERY_S)
    raise Unavailable(
        f"the peer took it, and the chain does not have it after {wait_s:.0f} s ({last}); it may still come: look at the account, or give the"
        " order to another peer", field="transaction",
    )


async def _is_used(again: Callable[[], Awaitable[object]]) -> bool:
    """Hand it in again; whether its nonce is used meanwhile, most likely by itself."""
    try:
        await again()
    except Overloaded:
        return False
    except InvalidRequest as error:
        if error.code != "nonce_used":  # not where another order with this number waits, nor where it is too far ahead
            raise
        return True
    return False


def _state(found: dict[str, Any]) -> str:
    state = found.get("state")
    if state not in (*OrderState, UNKNOWN):
        raise RemoteProtocolError("the peer does not say what became of the order", field="state")
    return str(state)


def _number(found: dict[str, Any]) -> int:
    height = found.get("height")
    if not isinstance(height, int) or not 0 <= height < 2**63:
        raise RemoteProtocolError("the peer names no height", field="height")
    return height


def _text(found: dict[str, Any], name: str) -> str:
    text = found.get(name)
    return text[:300] if isinstance(text, str) else ""
