"""Reads a peer's answer to a query. Law: no shape is believed; a malformed answer is an error that names the peer.

Keys that are not known here are ignored, so that a newer peer may say more.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from p2p.base.errors import RemoteProtocolError
from p2p.machine.foreign_text import line

T = TypeVar("T", bound=Struct)


def read(kind: type[T], answer: Any, op: str, peer: str) -> T:
    """`answer` to the operation `op`, as a `kind`. Raises RemoteProtocolError naming the peer and what is wrong."""
    try:
        return msgspec.convert(answer, kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        what = line(str(error), 200) if isinstance(error, msgspec.ValidationError) else "it is nested too deeply"
        raise RemoteProtocolError(
            f"peer {line(peer, 80)} gave a malformed answer to {op!r}: {what}; ask another peer",
            field=op, code="malformed_answer",
        ) from error
