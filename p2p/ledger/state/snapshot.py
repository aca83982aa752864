"""The whole state in chunks, as of an epoch's last block. Law: a chunk is a subtree of the state tree, so its own hash tells whether it is
true, and the manifest is true when its hashes fold to the root that the next header stands for.

Chunk i of 16^n holds the pairs whose path (tree.py) begins with the n hexadecimal digits of i; who serves chooses n.
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

CHUNK_BYTES = 256 * 1024  # a chunk holds this much in the mean, at most
MAX_DIGITS = 4
Pairs = list[tuple[bytes, bytes]]


class Manifest(Message, frozen=True):
    """What a snapshot is made of: of each chunk the slot that stands for its subtree."""

    height: U64
    chunks: Annotated[tuple[Annotated[bytes, Meta(max_length=tree.LEAF_BYTES)], ...], Meta(min_length=1, max_length=16**MAX_DIGITS)]

    def app_hash(self) -> bytes:
        """What the header after `height` must say. Raises RemoteProtocolError when these can be no subtrees of a tree."""
        wrong_size = any(len(slot) not in (0, tree.HASH_BYTES, tree.LEAF_BYTES) for slot in self.chunks)
        if wrong_size or len(self.chunks) != 16 ** digits_of(self.chunks):
            raise RemoteProtocolError("these chunks make no tree", field="chunks")
        return tree.app_hash(tree.hash_of(tree.fold(self.chunks)))


def digits_of(chunks: Sequence[bytes]) -> int:
    """How many digits of a path name one of so many chunks."""
    return (len(chunks).bit_length() - 1) // tree.LEVELS


def make_chunks(pairs: Iterable[tuple[bytes, bytes]]) -> Resumable[tuple[list[bytes], list[bytes]]]:
    """Pairs in key order, by subtree: the chunks' bytes, and the slots that stand for them. A step for each pair, then for each chunk."""
    rows: list[tuple[tree.Leaf, list[bytes]]] = []
    for key, value in pairs:
        rows.append((tree.leaf_of(key, value), [key, value]))
        yield
    size, digits = sum(len(key) + len(value) + 16 for _, (key, value) in rows), 0
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
    """The pairs of chunk `index`. Raises RemoteProtocolError when it is not the one the manifest names."""
    pairs = list(unpack(tuple[tuple[bytes, bytes], ...], raw, items=MAX_CHUNK_ITEMS))
    leaves = [tree.leaf_of(*pair) for pair in pairs]
    distinct = len({path for path, _ in leaves}) == len(leaves)
    if not distinct or tree.subtree(leaves, digits_of(manifest.chunks)) != manifest.chunks[index]:
        raise RemoteProtocolError("this chunk is not the one the header stands for", field="chunk")
    return pairs
