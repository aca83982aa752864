"""What became of accounts' transactions, for whoever asks.

Law: one that was taken ends in one of four ways, and the reason is kept with it. That it was not carried out is said
only where this peer knows it. Bounded: the oldest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from p2p.base.errors import FolkmootError
from p2p.base.limits import MAX_FATES


class TransactionState(StrEnum):
    """How far a transaction has come."""

    WAITING = "waiting"  # for a block
    DONE = "done"  # carried out
    REFUSED = "refused"  # in a block, and against a rule as things stood there
    DROPPED = "dropped"  # no block took it, and its nonce is free
    # its nonce is used: by something else (USED_BY_ANOTHER), or by what this peer has not seen (NOT_SEEN)
    USED = "used"


UNKNOWN = "unknown"  # the state of a transaction that this peer has not heard of
USED_BY_ANOTHER, NOT_SEEN = "used_by_another", "not_seen"


@dataclass(frozen=True, slots=True)
class Fate:
    """What is known of one transaction."""

    state: TransactionState
    height: int  # of the block, or at which it was dropped, or came
    code: str = ""  # code, field and reason: as in the error; empty where all is well
    field: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state is not TransactionState.WAITING


def fate_of(height: int, wrong: FolkmootError | None) -> Fate:
    """Of a transaction in block `height`. wrong: why it was not carried out."""
    if wrong is None:
        return Fate(TransactionState.DONE, height)
    return Fate(TransactionState.REFUSED, height, wrong.code[:96], wrong.field[:96], wrong.message[:300])


class Fates:
    """By operation id."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Fate] = OrderedDict()

    def note(self, op_id: bytes, fate: Fate) -> None:
        """One that was dropped may come again; what a block decided is final."""
        before = self._known.get(op_id)
        is_decided = before is not None and before.state in (TransactionState.DONE, TransactionState.REFUSED)
        if is_decided and fate.state is not TransactionState.DONE:
            return
        self._known[op_id] = fate
        self._known.move_to_end(op_id)
        while len(self._known) > MAX_FATES:
            self._known.popitem(last=False)

    def find(self, op_id: bytes) -> Fate | None:
        return self._known.get(op_id)
