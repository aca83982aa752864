"""Orders of accounts at a peer. Law: what the chain would refuse as it stands never enters the outbox, and the sender is told which field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2p.ledger.ops import SignedOp
from p2p.types import RecordKind

if TYPE_CHECKING:
    from p2p.chain import Chain
    from p2p.outbox import Outbox


def take_order(chain: Chain, outbox: Outbox, signed: SignedOp) -> dict[str, Any]:
    """Check it, queue it. The answer, as plain data: taken, not yet on chain. Raises FolkmootError naming the field."""
    outbox.check_room()
    chain.take_op(signed)
    outbox.put(RecordKind.OP, signed)
    return {"op_id": signed.op_id.hex(), "kind": signed.op.kind.name.lower(), "nonce": signed.op.nonce, "height": chain.height()}
