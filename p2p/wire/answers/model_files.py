"""`model_file`: a part of a file that a model's registry entry names by its SHA-256: tokenizer.json, chat template.

Law: who asks checks the hash of the whole, so nothing here has to be believed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_TOKENIZER, MODEL_CHUNK
from p2p.wire.answers.fields import Hex32


class ModelFileAnswer(Struct, frozen=True):
    """The bytes from `offset` on, at most MODEL_CHUNK of them."""

    hash: Hex32  # SHA-256 of the whole file
    size: Annotated[int, Meta(ge=0, le=MAX_TOKENIZER)]  # bytes of the whole file
    offset: Annotated[int, Meta(ge=0, le=MAX_TOKENIZER)]
    data: Annotated[str, Meta(pattern="^(?:[0-9a-f]{2})*$", max_length=2 * MODEL_CHUNK)]  # hexadecimal


def model_file_answer(raw: bytes, wanted: bytes, offset: int) -> ModelFileAnswer:
    """The part of a file at `offset`. raw: the whole file, whose SHA-256 is `wanted`. Raises
    InvalidRequest(field='offset') beyond its end."""
    if not 0 <= offset < max(len(raw), 1):
        raise InvalidRequest(f"the file has {len(raw)} bytes, there is no byte {offset}", field="offset")
    return ModelFileAnswer(wanted.hex(), len(raw), offset, raw[offset : offset + MODEL_CHUNK].hex())


def no_model_file(wanted: bytes) -> InvalidRequest:
    """The error of a peer that does not have this file."""
    return InvalidRequest(
        f"no model in use here has a file with the hash {wanted.hex()[:12]}; ask a peer that serves the model",
        field="hash", code="not_found",
    )
