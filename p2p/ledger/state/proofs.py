"""Proofs that a key of the state has a value, or has none. Law: pure; a proof holds only where it hashes to the root,
and every byte of it is hashed.

At a key's place in the tree (tree.py) stands a leaf of that key (it has a value), nothing, or a single leaf of another
key (it has none). Each of the three hashes to the root only where the tree is so, so a proof cannot claim anything
else.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message
from p2p.base.types import Bytes32
from p2p.ledger.state.tree import (
    EMPTY,
    HASH_BYTES,
    LEAF_BYTES,
    PATH_BITS,
    ROOT,
    Read,
    hash_of,
    leaf_hash,
    level_above,
    node_hash,
    open_page,
    path_of,
    split_leaf,
)


class TreeProof(Message, frozen=True):
    """The hashes that lead from a key's place to the root."""

    siblings: Annotated[tuple[Bytes32, ...], Meta(max_length=PATH_BITS)]  # of the nodes on the path, from the root down
    other: tuple[Bytes32, Bytes32] | None  # (path, H(value)) of another key's leaf at this place


def prove(read: Read, key: bytes) -> TreeProof:
    """The proof of `key`'s place. It does not hold the value: the state says whether there is one. Raises
    LocalProtocolError when a page of the tree is missing."""
    path = path_of(key)
    siblings: list[bytes] = []
    position, slot = ROOT, b""
    for digit in path.hex().encode():
        slot = _through(open_page(read(position)), int(chr(digit), 16), siblings)
        if len(slot) != HASH_BYTES:
            break
        position += bytes([digit])
    leaf = split_leaf(slot) if len(slot) == LEAF_BYTES else None
    return TreeProof(tuple(siblings), leaf if leaf and leaf[0] != path else None)


def _through(slots: list[bytes], digit: int, siblings: list[bytes]) -> bytes:
    """Go down one page, as long as there is more than one leaf below. Appends the siblings' hashes; returns the slot
    at the end."""
    levels = [slots]
    while len(levels[-1]) > 1:
        levels.append(level_above(levels[-1]))
    slot = levels.pop()[0]
    while levels and len(slot) == HASH_BYTES:
        level = levels.pop()
        at = digit >> len(levels)
        siblings.append(hash_of(level[at ^ 1]))
        slot = level[at]
    return slot


def verify_proof(root: bytes, key: bytes, value: bytes | None, proof: TreeProof) -> bool:
    """Whether `key` has `value` in the state of `root`; value None: whether it has none."""
    return implied_root(key, value, proof) == root


def implied_root(key: bytes, value: bytes | None, proof: TreeProof) -> bytes | None:
    """The only root under which the proof holds; None where it is no proof about this key and value."""
    path, depth = path_of(key), len(proof.siblings)
    if depth > PATH_BITS:
        return None
    if value is not None:
        if proof.other is not None:
            return None
        current = leaf_hash(path, path_of(value))
    elif proof.other is not None:
        other, value_hash = proof.other
        if other == path or _bits(other) >> (PATH_BITS - depth) != _bits(path) >> (PATH_BITS - depth):
            return None
        current = leaf_hash(other, value_hash)
    else:
        current = EMPTY
    bits = _bits(path)
    for level in range(depth - 1, -1, -1):
        sibling = proof.siblings[level]
        goes_right = bits >> (PATH_BITS - 1 - level) & 1
        current = node_hash(sibling, current) if goes_right else node_hash(current, sibling)
    return current


def _bits(path: bytes) -> int:
    return int.from_bytes(path, "big")
