"""Types of the fields of answers. Law: each has a bound, so that a malformed answer is found where it is read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from p2p.ledger.money.price import MAX_PRICE

MAX_HEIGHT = (1 << 32) - 1
MAX_HEX = 1 << 23  # digits: as many as a frame has room for
MAX_ROWS = 1 << 16  # of a list that grows with the network or a block
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # micro-credits, or a count
Price = Annotated[int, Meta(ge=1, le=MAX_PRICE)]  # micro-credits a token
Height = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
Nonce = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Hex = Annotated[str, Meta(pattern="^(?:[0-9a-f]{2})*$", max_length=MAX_HEX)]  # bytes
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # a hash, a key, an id
MaybeHex32 = Annotated[str, Meta(pattern="^(?:[0-9a-f]{64})?$")]  # the same, or empty where there is none
Word = Annotated[str, Meta(pattern="^[A-Za-z_-]{1,40}$")]
Text = Annotated[str, Meta(max_length=4096)]  # a sentence; of a stranger, so it is cleaned before it is shown
Name = Annotated[str, Meta(max_length=256)]
