"""The proof of one answer: what a client keeps, so that anyone can check it later.

Law: data only; nothing in it is believed unsigned. Canonical CBOR. The signed parts are the client's request and the
executor's finish record, whose root binds the artifact. A chain confirms beacon and root.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from p2p.base.codec import Message, decode, encode, unpack
from p2p.base.errors import ConfigError, RemoteProtocolError, unsupported_version
from p2p.base.files import open_output
from p2p.base.limits import MAX_FRAME
from p2p.base.types import U32, VERSION, SignedFinish, SignedRequest
from p2p.wire.frames import Accepted, ArtifactBytes, BodyBytes, PackedIds


class AnswerProof(Message, frozen=True):
    """One answer, with what its client, agent and executor said of it."""

    BYTES: ClassVar[int] = 2 * MAX_FRAME  # it holds what came in several frames
    version: U32
    body: BodyBytes
    signed_request: SignedRequest
    accepted: Accepted  # what the agent said of the draw
    finish: SignedFinish
    artifact: ArtifactBytes
    tokens: PackedIds  # tokens and text: what was streamed, by the client's word
    text: Annotated[str, Meta(max_length=MAX_FRAME // 4)]


def parse_proof(data: bytes) -> AnswerProof:
    """Any bytes to a proof. Raises RemoteProtocolError naming the field."""
    plain = decode(data, limit=AnswerProof.BYTES)
    if isinstance(plain, list) and plain and plain[0] != VERSION:
        raise RemoteProtocolError(unsupported_version("proof", plain[0], VERSION), field="version", code="version")
    return unpack(AnswerProof, data)


def load_proof(file: Path) -> AnswerProof:
    """Raises ConfigError when the file cannot be read, RemoteProtocolError when it is no proof."""
    try:
        return parse_proof(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="proof") from error


def save_proof(proof: AnswerProof, file: Path) -> None:
    """A new file is readable by its user only: it holds the question. Raises ConfigError when it cannot be written."""
    try:
        with os.fdopen(open_output(file), "wb") as out:
            out.write(encode(proof))
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", field="save") from error
