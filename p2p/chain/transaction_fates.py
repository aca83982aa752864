"""What became of orders, for whoever asked. Law: an order that was taken ends in one of four ways, and the reason is kept with it; bounded,
the oldest are forgotten. That it was not carried out is said only where this peer knows it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from p2p.base.errors import FolkmootError
from p2p.base.limits import MAX_FATES


class OrderState(StrEnum):
    """WAITING: for a block. DONE: carried out. REFUSED: in a block, and against a rule as things stood there. DROPPED: no block took it, and
    its nonce is free. USED: its nonce is used: code USED_BY_ANOTHER, by something else; NOT_SEEN, by what this peer has not seen."""

    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    DROPPED = "dropped"
    USED = "used"


UNKNOWN = "unknown"  # the state of a transaction that this peer has not heard of
USED_BY_ANOTHER, NOT_SEEN = "used_by_another", "not_seen"


@dataclass(frozen=True, slots=True)
class Fate:
    """height: of the block, or when it was dropped, or when it came. code, field, reason: as in the error; empty where all is well."""

    state: OrderState
    height: int
    code: str = ""
    field: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state is not OrderState.WAITING


def fate_of(height: int, wrong: FolkmootError | None) -> Fate:
    """Of an order in block `height`. wrong: why it was not carried out."""
    if wrong is None:
        return Fate(OrderState.DONE, height)
    return Fate(OrderState.REFUSED, height, wrong.code[:96], wrong.field[:96], wrong.message[:300])


class Fates:
    """By op id. What ended does not change."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Fate] = OrderedDict()

    def note(self, op_id: bytes, fate: Fate) -> None:
        """An order that was dropped may come again, and a block says the last word."""
        before = self._known.get(op_id)
        if before is not None and before.state in (OrderState.DONE, OrderState.REFUSED) and fate.state is not OrderState.DONE:
            return
        self._known[op_id] = fate
        self._known.move_to_end(op_id)
        while len(self._known) > MAX_FATES:
            self._known.popitem(last=False)

    def find(self, op_id: bytes) -> Fate | None:
        return self._known.get(op_id)
