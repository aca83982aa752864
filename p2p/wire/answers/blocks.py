"""Answers about blocks and proofs: `block`, `light`, `prove`, `serving`.

Law: the hexadecimal fields are canonical CBOR of the type that is named, which its reader checks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from p2p.wire.answers.fields import MAX_ROWS, Amount, Height, Hex, Hex32, MaybeHex32, Name, Word


class BlockRecord(Struct, frozen=True):
    """One record of a block's transactions."""

    kind: Word
    inference_id: MaybeHex32  # empty: it is about none


class RefusedRecord(Struct, frozen=True):
    """A record that its block carries and the ledger refused."""

    sender: Hex32  # a batch's peer, or an account
    index: Amount  # of the record in its batch
    code: Name
    field: Name


class BlockAnswer(Struct, frozen=True):
    """`block`: a decided block."""

    height: Height
    block_id: Hex32
    round: Amount  # in which it was proposed
    commit_round: Amount  # in which it was decided
    proposer: Hex32
    time_ms: Amount
    app_hash: Hex32  # of the state before it
    beacon: Hex32
    txs: Amount
    signatures: Amount
    records: Annotated[tuple[BlockRecord, ...], Meta(max_length=MAX_ROWS)]
    refused: Annotated[tuple[RefusedRecord, ...], Meta(max_length=MAX_ROWS)]


class Light(Struct, frozen=True):
    """`light`: what a light client needs of one block."""

    height: Height
    light: Hex  # LightBlock


class Proved(Struct, frozen=True):
    """`prove`: a value of the state after `height`, and its place in the tree."""

    height: Height
    value: Hex | None  # None: there is none
    proof: Hex  # TreeProof
    left: Hex | None = None  # ArchiveProof, of an inference that left the state; then value is its epoch's sums


class ServingAnswer(Struct, frozen=True):
    """`serving`: from whom a draw is made."""

    height: Height
    proof: Hex  # ServingProof
