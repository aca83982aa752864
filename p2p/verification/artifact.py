"""The artifact: all that an executor claims about one answer. Law: canonical bytes, one root, <= 32 bytes a token.

Row of a token: chosen id, chosen logprob (2 bytes, 1/1024 nat), TOP_RANKS x (id, logprob in 1/16 nat), tail mass in 1/16 nat.
Ids take 2 bytes when the vocabulary allows (29 bytes a row), else 3. Leaves: header, then LEAF_POSITIONS rows each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p import merkle
from p2p.codec import Message, decode, encode, unpack
from p2p.errors import RemoteProtocolError
from p2p.inference.engine import TokenStep
from p2p.keys import digest
from p2p.limits import LEAF_POSITIONS, MAX_FRAME, MAX_OUTPUT_TOKENS, TOP_RANKS
from p2p.types import U32, Bytes32, FinishReason, InferenceId, ModelSpec, Params, Request, Short, StackClass

ARTIFACT_VERSION = 1
TOP_STEPS_PER_NAT = 16
CHOSEN_STEPS_PER_NAT = 1024


class Header(Message, frozen=True):
    """What the root binds besides the rows. prompt_tokens_hash: hash of the templated prompt's token ids."""

    version: U32
    inference_id: Bytes32
    model: Short
    weights_hash: Bytes32
    precision: Short
    kv_precision: Short
    stack: Short
    template_hash: Bytes32
    prompt_hash: Bytes32
    prompt_tokens: U32
    prompt_tokens_hash: Bytes32
    params: Params
    seed: Bytes32
    finish_reason: FinishReason
    id_bytes: Annotated[int, Meta(ge=2, le=3)] = 2
    length: Annotated[int, Meta(ge=0, le=MAX_OUTPUT_TOKENS)] = 0


@dataclass(frozen=True, slots=True)
class Position:
    """One row, read back: log-probabilities within their quantisation step. tail: log of the mass outside `top`."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    tail: float


def output_hash(tokens: Sequence[int]) -> bytes:
    """Hash of the output's token ids: what FinishRecord and OutputRecord carry."""
    return digest(b"output", *(t.to_bytes(4, "big") for t in tokens))


def prompt_tokens_hash(tokens: Sequence[int]) -> bytes:
    return digest(b"prompt-tokens", *(t.to_bytes(4, "big") for t in tokens))


@dataclass(frozen=True, slots=True)
class Artifact:
    header: Header
    rows: bytes

    @property
    def length(self) -> int:
        return self.header.length

    @property
    def tokens(self) -> tuple[int, ...]:
        size = row_bytes(self.header.id_bytes)
        width = self.header.id_bytes
        return tuple(int.from_bytes(self.rows[at : at + width], "little") for at in range(0, len(self.rows), size))

    def positions(self) -> tuple[Position, ...]:
        size = row_bytes(self.header.id_bytes)
        return tuple(_read_row(self.rows[at : at + size], self.header.id_bytes) for at in range(0, len(self.rows), size))

    def leaves(self) -> list[bytes]:
        chunk = LEAF_POSITIONS * row_bytes(self.header.id_bytes)
        return [encode(self.header), *(self.rows[at : at + chunk] for at in range(0, len(self.rows), chunk))]

    def root(self) -> bytes:
        return merkle.root(self.leaves())

    def output_hash(self) -> bytes:
        return output_hash(self.tokens)

    def to_bytes(self) -> bytes:
        return encode([encode(self.header), self.rows])


def row_bytes(id_bytes: int) -> int:
    return id_bytes + 2 + TOP_RANKS * (id_bytes + 1) + 1


def header_for(
    request: Request, inference_id: InferenceId, spec: ModelSpec, seed: bytes, prompt_tokens: Sequence[int], reason: FinishReason,
    *, stack: str = StackClass.CPU_BF16,
) -> Header:
    """The header an executor signs for; `build` fills in length and id width."""
    return Header(
        ARTIFACT_VERSION, inference_id, request.model, spec.weights_hash, spec.precision, spec.precision, str(stack),
        spec.template_hash, request.prompt_hash, len(prompt_tokens), prompt_tokens_hash(prompt_tokens), request.params, seed, reason,
    )


def build(header: Header, steps: Sequence[TokenStep]) -> Artifact:
    """The artifact of an answer. A step with fewer than TOP_RANKS candidates repeats its last one."""
    ids = [t for s in steps for t in (s.token, *(c for c, _ in s.top))]
    width = 2 if max(ids, default=0) < 1 << 16 else 3
    rows = b"".join(_write_row(step, width) for step in steps)
    return Artifact(replace(header, id_bytes=width, length=len(steps)), rows)


def parse(data: bytes) -> Artifact:
    """Any bytes to an artifact or RemoteProtocolError naming the field."""
    plain = decode(data, limit=MAX_FRAME // 2)
    if not (isinstance(plain, list) and len(plain) == 2 and all(isinstance(part, bytes) for part in plain)):
        raise RemoteProtocolError("an artifact is a header and rows", field="artifact", code="shape")
    header = unpack(Header, plain[0])
    if header.version != ARTIFACT_VERSION:
        raise RemoteProtocolError(f"artifact version {header.version} is not known here", field="version", code="version")
    if len(plain[1]) != header.length * row_bytes(header.id_bytes):
        raise RemoteProtocolError("the rows are not as many as the header says", field="length", code="shape")
    return Artifact(header, plain[1])


def _write_row(step: TokenStep, width: int) -> bytes:
    top = [*step.top[:TOP_RANKS]] or [(step.token, step.logprob)]
    top += [top[-1]] * (TOP_RANKS - len(top))
    tail = max(1.0 - sum(math.exp(p) for _, p in step.top[:TOP_RANKS]), 1e-9)
    out = [step.token.to_bytes(width, "little"), _quantise(step.logprob, CHOSEN_STEPS_PER_NAT, 2)]
    for token, logprob in top:
        out += [token.to_bytes(width, "little"), _quantise(logprob, TOP_STEPS_PER_NAT, 1)]
    out.append(_quantise(math.log(tail), TOP_STEPS_PER_NAT, 1))
    return b"".join(out)


def _quantise(logprob: float, steps: int, size: int) -> bytes:
    value = -logprob * steps if math.isfinite(logprob) else math.inf
    return min(max(round(min(value, 1e9)), 0), (1 << 8 * size) - 1).to_bytes(size, "little")


def _read_row(row: bytes, width: int) -> Position:
    def number(at: int, size: int) -> int:
        return int.from_bytes(row[at : at + size], "little")

    first, each = width + 2, width + 1
    top = tuple(
        (number(first + i * each, width), -number(first + i * each + width, 1) / TOP_STEPS_PER_NAT) for i in range(TOP_RANKS)
    )
    return Position(number(0, width), -number(width, 2) / CHOSEN_STEPS_PER_NAT, top, -row[-1] / TOP_STEPS_PER_NAT)
