"""The artifact: all that an executor claims about one answer. Law: canonical bytes, one root, at most 32 bytes a token.

Row of a token: chosen id; its log-probability (16 bits, 1/1024 nat); TOP_RANKS x (id, log-probability in 8 bits, 1/16
nat); log of the tail's probability (8 bits, 1/16 nat). Fields are packed without gaps from the lowest bit on; the rest
of the last byte is zero. An id has 16 bits if all ids of the answer fit (29 bytes a row), else 18 (32 bytes; ids below
2^18). Merkle leaves: the header, then LEAF_POSITIONS rows each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.codec import Message, decode, encode, unpack
from p2p.base.errors import RemoteProtocolError, Unavailable, unsupported_version
from p2p.base.genesis import ModelSpec
from p2p.base.keys import digest
from p2p.base.serving_limits import LEAF_POSITIONS, MAX_ARTIFACT, MAX_HANDOVERS, MAX_OUTPUT_TOKENS, TOP_RANKS
from p2p.base.types import U32, Bytes32, FinishReason, InferenceId, Params, Request, Short, SignedStreamed, StackClass
from p2p.verification.engine import TokenStep

ARTIFACT_VERSION = 2
TOP_STEPS_PER_NAT = 16  # quantisation of a candidate's log-probability
CHOSEN_STEPS_PER_NAT = 1024  # and of the chosen token's
ID_BITS = (16, 18)  # widths of a token id
TOP_BITS, CHOSEN_BITS = 8, 16  # widths of a log-probability
_MIN_TAIL = 1e-9  # probability; the smallest tail whose logarithm is taken


class Header(Message, frozen=True):
    """What the root binds besides the rows."""

    version: U32
    inference_id: Bytes32
    model: Short
    weights_hash: Bytes32
    precision: Short
    kv_precision: Short
    stack: Short
    template_hash: Bytes32
    body_hash: Bytes32
    prompt_tokens: U32
    prompt_tokens_hash: Bytes32  # of the token ids that the body makes
    params: Params
    seed: Bytes32  # of the tape
    finish_reason: FinishReason
    id_bits: Annotated[int, Meta(ge=16, le=18, multiple_of=2)] = 16
    length: Annotated[int, Meta(ge=0, le=MAX_OUTPUT_TOKENS)] = 0
    # signatures of the executors that streamed the beginning and failed (streamed.py); the numbers of these tokens are
    # this
    # executor's prefill, not those that sampled them
    taken: Annotated[tuple[SignedStreamed, ...], Meta(max_length=MAX_HANDOVERS)] = ()

    @property
    def taken_over(self) -> int:
        """Tokens at the beginning that earlier executors made."""
        return self.taken[-1].record.tokens if self.taken else 0

    @property
    def context(self) -> int:
        """Tokens of prompt and answer."""
        return self.prompt_tokens + self.length


@dataclass(frozen=True, slots=True)
class Position:
    """One row, read back. Log-probabilities are in nats, exact to their quantisation step."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]  # (token, log-probability), best first
    tail: float  # log of the probability outside `top`


def output_hash(tokens: Sequence[int]) -> bytes:
    """Hash of the output's token ids: what FinishRecord and OutputRecord carry."""
    return digest(b"output", *(t.to_bytes(4, "big") for t in tokens))


def prompt_tokens_hash(tokens: Sequence[int]) -> bytes:
    """Hash of the prompt's token ids."""
    return digest(b"prompt-tokens", *(t.to_bytes(4, "big") for t in tokens))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A header and the packed rows of an answer."""

    header: Header
    rows: bytes

    @property
    def length(self) -> int:
        return self.header.length

    @property
    def tokens(self) -> tuple[int, ...]:
        size, bits = row_bytes(self.header.id_bits), self.header.id_bits
        low = (1 << bits) - 1
        return tuple(int.from_bytes(self.rows[at : at + 3], "little") & low for at in range(0, len(self.rows), size))

    def positions(self) -> tuple[Position, ...]:
        size = row_bytes(self.header.id_bits)
        return tuple(_read_row(self.rows[at : at + size], self.header.id_bits) for at in range(0, len(self.rows), size))

    def leaves(self) -> list[bytes]:
        chunk = LEAF_POSITIONS * row_bytes(self.header.id_bits)
        return [encode(self.header), *(self.rows[at : at + chunk] for at in range(0, len(self.rows), chunk))]

    def root(self) -> bytes:
        return merkle.root(self.leaves())

    def output_hash(self) -> bytes:
        return output_hash(self.tokens)

    def to_bytes(self) -> bytes:
        return encode([encode(self.header), self.rows])


def row_bits(id_bits: int) -> int:
    """Bits of a row whose token ids have `id_bits` bits."""
    return id_bits + CHOSEN_BITS + TOP_RANKS * (id_bits + TOP_BITS) + TOP_BITS


def row_bytes(id_bits: int) -> int:
    """Bytes of such a row."""
    return (row_bits(id_bits) + 7) // 8


def header_for(
    request: Request, inference_id: InferenceId, spec: ModelSpec, seed: bytes, prompt_tokens: Sequence[int],
    reason: FinishReason,
    *, stack: str = StackClass.CPU_BF16, taken: tuple[SignedStreamed, ...] = (),
) -> Header:
    """The header of an answer; `build` fills in its length and id width. reason: how it ended. seed: of the tape."""
    return Header(
        ARTIFACT_VERSION, inference_id, request.model, spec.weights_hash, spec.precision, spec.precision, str(stack),
        spec.template_hash, request.body_hash, len(prompt_tokens), prompt_tokens_hash(prompt_tokens), request.params,
        seed, reason,
        taken=taken,
    )


def build(header: Header, steps: Sequence[TokenStep]) -> Artifact:
    """The artifact of an answer. A step with fewer than TOP_RANKS candidates repeats its last one: the bytes exist, and
    stage 0 refuses them. Raises Unavailable(field='token') for an id that no row can hold, which is the engine's
    fault."""
    ids = [t for s in steps for t in (s.token, *(c for c, _ in s.top[:TOP_RANKS]))]
    if min(ids, default=0) < 0 or max(ids, default=0) >= 1 << ID_BITS[-1]:
        raise Unavailable(f"the engine names a token id outside 0..{(1 << ID_BITS[-1]) - 1}", field="token")
    bits = next(bits for bits in ID_BITS if max(ids, default=0) < 1 << bits)
    rows = b"".join(_write_row(step, bits) for step in steps)
    return Artifact(replace(header, id_bits=bits, length=len(steps)), rows)


def pack_rows(steps: Sequence[TokenStep]) -> bytes:
    """The steps' rows with the widest ids, for whoever shows log-probabilities while the answer comes."""
    return b"".join(_write_row(step, ID_BITS[-1]) for step in steps)


def unpack_rows(rows: bytes) -> tuple[Position, ...]:
    """Inverse of pack_rows. Raises RemoteProtocolError(field='rows') where the length is not that of whole rows."""
    size = row_bytes(ID_BITS[-1])
    if len(rows) % size:
        raise RemoteProtocolError(f"rows have {size} bytes each", field="rows", code="shape")
    return tuple(_read_row(rows[at : at + size], ID_BITS[-1]) for at in range(0, len(rows), size))


def parse(data: bytes) -> Artifact:
    """From any bytes. Raises RemoteProtocolError naming the field."""
    plain = decode(data, limit=MAX_ARTIFACT)
    if not (isinstance(plain, list) and len(plain) == 2 and all(isinstance(part, bytes) for part in plain)):
        raise RemoteProtocolError("an artifact is a header and rows", field="artifact", code="shape")
    header = unpack(Header, plain[0])
    rows: bytes = plain[1]
    if header.version != ARTIFACT_VERSION:
        raise RemoteProtocolError(
            unsupported_version("artifact", header.version, ARTIFACT_VERSION), field="version", code="version"
        )
    size = row_bytes(header.id_bits)
    if len(rows) != header.length * size:
        raise RemoteProtocolError("the header names another number of rows", field="length", code="shape")
    if max(rows[size - 1 :: size], default=0) >> (row_bits(header.id_bits) - 1) % 8 + 1:
        raise RemoteProtocolError("bits after a row's end are set", field="rows", code="shape")
    return Artifact(header, rows)


def _write_row(step: TokenStep, id_bits: int) -> bytes:
    top = [*step.top[:TOP_RANKS]] or [(step.token, step.logprob)]
    top += [top[-1]] * (TOP_RANKS - len(top))
    # exp must not overflow: rounding may put a log-probability above 0, and an engine may give anything
    tail = max(1.0 - sum(math.exp(min(p, 0.0)) for _, p in step.top[:TOP_RANKS]), _MIN_TAIL)
    fields = [(step.token, id_bits), (_quantised(step.logprob, CHOSEN_STEPS_PER_NAT, CHOSEN_BITS), CHOSEN_BITS)]
    for token, logprob in top:
        fields += [(token, id_bits), (_quantised(logprob, TOP_STEPS_PER_NAT, TOP_BITS), TOP_BITS)]
    fields.append((_quantised(math.log(tail), TOP_STEPS_PER_NAT, TOP_BITS), TOP_BITS))
    row, at = 0, 0
    for value, bits in fields:
        row |= value << at
        at += bits
    return row.to_bytes(row_bytes(id_bits), "little")


def _quantised(logprob: float, steps: int, bits: int) -> int:
    """Steps below 0, rounded to nearest, from 0 to the largest number of `bits` bits; the latter also for what is not
    finite."""
    value = -logprob * steps if math.isfinite(logprob) else math.inf
    return round(min(max(value, 0.0), (1 << bits) - 1))


def _read_row(row: bytes, id_bits: int) -> Position:
    whole, at = int.from_bytes(row, "little"), 0

    def take(bits: int) -> int:
        nonlocal at
        at += bits
        return whole >> (at - bits) & ((1 << bits) - 1)

    token, logprob = take(id_bits), -take(CHOSEN_BITS) / CHOSEN_STEPS_PER_NAT
    top = tuple((take(id_bits), -take(TOP_BITS) / TOP_STEPS_PER_NAT) for _ in range(TOP_RANKS))
    return Position(token, logprob, top, -take(TOP_BITS) / TOP_STEPS_PER_NAT)
