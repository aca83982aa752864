"""The whole state in chunks, as of an epoch's last block. Law: its root is in that block's app hash, so any peer can check a chunk.

app_hash(h) = H(app_hash(h-1), root of h's changes), and at an epoch's end also the root over the state's chunks (decision 008).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from p2p import merkle
from p2p.codec import Message, encode, unpack
from p2p.errors import RemoteProtocolError
from p2p.keys import digest
from p2p.types import U64, Bytes32

CHUNK_BYTES = 256 * 1024
MAX_CHUNKS = 16_384


class Manifest(Message, frozen=True):
    """What a snapshot is made of; `app_hash()` must be what the header after `height` says."""

    height: U64
    before: Bytes32
    changes_root: Bytes32
    chunks: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_CHUNKS)]

    def app_hash(self) -> bytes:
        return digest(b"epoch", self.before, self.changes_root, merkle.root(self.chunks))


def make_chunks(pairs: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Pairs in key order, packed greedily."""
    chunks: list[bytes] = []
    row: list[list[bytes]] = []
    size = 0
    for key, value in pairs:
        if row and size + len(key) + len(value) > CHUNK_BYTES:
            chunks.append(encode(row))
            row, size = [], 0
        row.append([key, value])
        size += len(key) + len(value) + 16
    return [*chunks, encode(row)]


def open_chunk(raw: bytes, expected: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a chunk. Raises RemoteProtocolError when it is not the one the manifest names."""
    if digest(b"chunk", raw) != expected:
        raise RemoteProtocolError("this chunk is not the one the header stands for", field="chunk")
    return list(unpack(tuple[tuple[bytes, bytes], ...], raw))


def chunk_hash(raw: bytes) -> bytes:
    return digest(b"chunk", raw)
