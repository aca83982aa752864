"""`genesis`: a part of the network's genesis file, for a newcomer that has none.

Law: who asks compares the hash of the whole with the network's id, so nothing here has to be believed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from p2p.base.errors import InvalidRequest
from p2p.base.limits import KIB, MAX_FRAME

GENESIS_CHUNK = 512 * KIB  # bytes of the file in one answer
MAX_GENESIS = MAX_FRAME  # bytes of a genesis file, as base/genesis.py reads it from the disk


class GenesisAnswer(Struct, frozen=True):
    """The bytes from `offset` on, at most GENESIS_CHUNK of them."""

    size: Annotated[int, Meta(ge=1, le=MAX_GENESIS)]  # bytes of the whole file
    offset: Annotated[int, Meta(ge=0, le=MAX_GENESIS)]
    data: Annotated[str, Meta(pattern="^(?:[0-9a-f]{2})+$", max_length=2 * GENESIS_CHUNK)]  # hexadecimal


def genesis_answer(raw: bytes, offset: int) -> GenesisAnswer:
    """The part of the file `raw` at `offset`. Raises InvalidRequest(field='offset') beyond its end."""
    if not 0 <= offset < len(raw):
        raise InvalidRequest(f"the genesis file has {len(raw)} bytes, there is no byte {offset}", field="offset")
    return GenesisAnswer(len(raw), offset, raw[offset : offset + GENESIS_CHUNK].hex())
