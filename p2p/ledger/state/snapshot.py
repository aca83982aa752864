"""The whole state in chunks, as of an epoch's last block. Law: every chunk is a subtree of the state tree, so it is
checked by its own hash, and the manifest by the root in the next header.

Of 16^n chunks, chunk i holds the pairs whose path (tree.py) begins with the n hexadecimal digits of i. The peer that
serves the snapshot chooses n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_CHUNK_ITEMS
from p2p.base.resumable import Resumable
from p2p.base.types import U64
from p2p.ledger.state import tree

CHUNK_BYTES = 256 * 1024  # a chunk's mean size is at most this
MAX_DIGITS = 4  # n
PAIR_BYTES = 16  # counted for the encoding of a pair, besides its key and value
Pairs = list[tuple[bytes, bytes]]  # (key, value)


class Manifest(Message, frozen=True):
    """What a snapshot is made of."""

    height: U64  # of the last block it includes
    chunks: Annotated[  # of each chunk, the slot of its subtree (tree.py)
        tuple[Annotated[bytes, Meta(max_length=tree.LEAF_BYTES)], ...], Meta(min_length=1, max_length=16**MAX_DIGITS)
    ]

    def app_hash(self) -> bytes:
        """What the header after `height` must say. Raises RemoteProtocolError where these cannot be the subtrees of
        a tree."""
        wrong_size = any(len(slot) not in (0, tree.HASH_BYTES, tree.LEAF_BYTES) for slot in self.chunks)
        if wrong_size or len(self.chunks) != 16 ** digits_of(self.chunks):
            raise RemoteProtocolError(
                "the chunks in the manifest are no subtrees of one tree; ask another peer", field="chunks"
            )
        return tree.app_hash(tree.hash_of(tree.fold(self.chunks)))


def digits_of(chunks: Sequence[bytes]) -> int:
    """n, of 16^n chunks."""
    return (len(chunks).bit_length() - 1) // tree.LEVELS


def make_chunks(pairs: Iterable[tuple[bytes, bytes]]) -> Resumable[tuple[list[bytes], list[bytes]]]:
    """(the chunks' bytes, their subtrees' slots) of all pairs of the state, in key order. A step for each pair, then
    one for each chunk."""
    rows: list[tuple[tree.Leaf, list[bytes]]] = []
    for key, value in pairs:
        rows.append((tree.leaf_of(key, value), [key, value]))
        yield
    size, digits = sum(len(key) + len(value) + PAIR_BYTES for _, (key, value) in rows), 0
    while digits < MAX_DIGITS and size > CHUNK_BYTES * 16**digits:
        digits += 1
    places: list[tuple[list[tree.Leaf], list[list[bytes]]]] = [([], []) for _ in range(16**digits)]
    for leaf, row in rows:
        leaves, held = places[int.from_bytes(leaf[0][:2], "big") >> (16 - 4 * digits)]
        leaves.append(leaf)
        held.append(row)
    chunks, slots = [], []
    for leaves, held in places:
        chunks.append(encode(held))
        slots.append(tree.subtree(leaves, digits))
        yield
    return chunks, slots


def open_chunk(raw: bytes, manifest: Manifest, index: int) -> Pairs:
    """The pairs of chunk `index`. Raises RemoteProtocolError where `raw` is not the chunk that the manifest names."""
    pairs = list(unpack(tuple[tuple[bytes, bytes], ...], raw, items=MAX_CHUNK_ITEMS))
    leaves = [tree.leaf_of(*pair) for pair in pairs]
    distinct = len({path for path, _ in leaves}) == len(leaves)
    if not distinct or tree.subtree(leaves, digits_of(manifest.chunks)) != manifest.chunks[index]:
        raise RemoteProtocolError("the chunk does not have the hash in the manifest; ask another peer", field="chunk")
    return pairs
