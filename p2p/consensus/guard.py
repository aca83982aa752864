"""What a validator has signed last. Law: (height, round, step) only grows; the same place signs only the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from p2p.base.codec import Message
from p2p.base.types import U32, U64


class GuardRecord(Message, frozen=True):
    """step: 0 proposal, 1 prevote, 2 precommit. sign_bytes: the signed message's canonical bytes."""

    height: U64
    round: U32
    step: U32
    sign_bytes: bytes


class GuardLog(Protocol):
    """Durable before it returns; raises StorageError, which halts the peer."""

    def load(self) -> GuardRecord | None: ...
    def inputs(self, height: int) -> list[bytes]: ...
    def record(self, height: int, inputs: Sequence[bytes], guard: GuardRecord | None) -> None: ...
    def prune(self, height: int) -> None: ...


def may_sign(last: GuardRecord | None, wanted: GuardRecord) -> bool:
    """The rule G: forward is free, the same place only with the same bytes, back never."""
    if last is None:
        return True
    here, there = (last.height, last.round, last.step), (wanted.height, wanted.round, wanted.step)
    return there > here or (there == here and wanted.sign_bytes == last.sign_bytes)
