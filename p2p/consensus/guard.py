"""What a validator has signed last. Law: (height, round, step) only grows; for one of them only the same bytes are
signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from p2p.base.codec import Message
from p2p.base.types import U32, U64


class GuardRecord(Message, frozen=True):
    """The last signature of a key."""

    height: U64
    round: U32
    step: U32  # 0 proposal, 1 prevote, 2 precommit
    sign_bytes: bytes  # canonical bytes of the message that was signed


class GuardLog(Protocol):
    """Where the guard and the log of inputs are kept. Raises StorageError when it cannot write: the peer must halt."""

    def load(self) -> GuardRecord | None:
        """The last record; None when this key has signed nothing."""

    def inputs(self, height: int) -> list[bytes]:
        """The inputs recorded for a height, in order."""

    def record(self, height: int, inputs: Sequence[bytes], guard: GuardRecord | None) -> None:
        """Append inputs and replace the guard, in one write that is durable when this returns."""

    def is_held(self, height: int) -> bool:
        """Whether nothing may be signed at this height: another copy of this guard may have signed there."""

    def prune(self, height: int) -> None:
        """Forget the inputs of `height` and below; the guard stays."""


def may_sign(last: GuardRecord | None, wanted: GuardRecord) -> bool:
    """Rule G: forward always, the same (height, round, step) with the same bytes only, backward never."""
    if last is None:
        return True
    here, there = (last.height, last.round, last.step), (wanted.height, wanted.round, wanted.step)
    return there > here or (there == here and wanted.sign_bytes == last.sign_bytes)
