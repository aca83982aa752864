"""Token ids as bytes: four each, big-endian.

Law: one CBOR item, however many ids, so a frame with a whole answer costs no more to read than its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2p.base.errors import RemoteProtocolError

TOKEN_BYTES = 4


def pack_ids(tokens: Sequence[int]) -> bytes:
    """Ids from 0 to 2^32 - 1 as bytes."""
    return np.asarray(tokens, dtype=">u4").tobytes()


def unpack_ids(raw: bytes, field: str = "tokens") -> tuple[int, ...]:
    """Inverse of pack_ids. Raises RemoteProtocolError(field) where the length is no multiple of four."""
    if len(raw) % TOKEN_BYTES:
        raise RemoteProtocolError(f"token ids have {TOKEN_BYTES} bytes each", field=field, code="shape")
    return tuple(np.frombuffer(raw, dtype=">u4").tolist())
