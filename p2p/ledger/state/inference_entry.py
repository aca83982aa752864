"""One inference of the state together with its id, as the ledger's functions pass it. Law: immutable; a change is a
new entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from p2p.base.types import FinishRecord, Request
from p2p.ledger.state.records import Inference


@dataclass(frozen=True, slots=True)
class InferenceEntry:
    """Key and value of keys.inference."""

    id: bytes
    inference: Inference

    @property
    def request(self) -> Request:
        return self.inference.signed_request.request

    @property
    def client(self) -> bytes:
        """The account that pays."""
        return self.request.account

    @property
    def finish(self) -> FinishRecord:
        """The executor's finish record. Only for an inference that was finished."""
        assert self.inference.finish is not None
        return self.inference.finish.record

    @property
    def executor(self) -> bytes:
        """The node key under which it was finished."""
        return self.finish.executor

    def changed(self, **fields: Any) -> InferenceEntry:
        """The entry with these fields of `Inference` replaced; nothing is written."""
        return InferenceEntry(self.id, replace(self.inference, **fields))
