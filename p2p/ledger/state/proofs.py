"""Proofs against the state tree. Law: pure; a proof is believed for what it hashes to, and its every byte is hashed.

What is at a key's place is a leaf of that key (it is there), nothing, or the one leaf of another key (it is not there). A proof cannot
say anything else: each of the three hashes to the root only where the tree is so (tree.py).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message
from p2p.base.types import Bytes32
from p2p.ledger.state.tree import EMPTY, HASH_BYTES, LEAF_BYTES, ROOT, Read, hash_of, leaf_hash, level_above, node_hash, open_page, path_of


class TreeProof(Message, frozen=True):
    """siblings: the hashes beside the path, from the root on. other: (path, H(value)) of the leaf that stands alone at the place of a
    key that is not there; None for a key that is there, and where nothing stands."""

    siblings: Annotated[tuple[Bytes32, ...], Meta(max_length=256)]
    other: tuple[Bytes32, Bytes32] | None


def prove(read: Read, key: bytes) -> TreeProof:
    """How `key`'s place is seen from the root; whether a value is there, the state says. Raises LocalProtocolError (a page is missing)."""
    path = path_of(key)
    siblings: list[bytes] = []
    position, slot = ROOT, b""
    for digit in path.hex().encode():
        slot = _through(open_page(read(position)), int(chr(digit), 16), siblings)
        if len(slot) != HASH_BYTES:
            break
        position += bytes([digit])
    other = (slot[32:64], slot[64:]) if len(slot) == LEAF_BYTES and slot[32:64] != path else None
    return TreeProof(tuple(siblings), other)


def _through(slots: list[bytes], digit: int, siblings: list[bytes]) -> bytes:
    """Down one page as far as there is more than one leaf; adds the hashes beside the way. The slot at its end."""
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
    """True when under `root` `key` has `value`; None: when it has none."""
    return implied_root(key, value, proof) == root


def implied_root(key: bytes, value: bytes | None, proof: TreeProof) -> bytes | None:
    """The only root under which the proof holds; None when it says nothing of this key and value."""
    path, depth = path_of(key), len(proof.siblings)
    if depth > 256:
        return None
    if value is not None:
        if proof.other is not None:
            return None
        current = leaf_hash(path, path_of(value))
    elif proof.other is not None:
        other, value_hash = proof.other
        if other == path or _bits(other) >> (256 - depth) != _bits(path) >> (256 - depth):
            return None
        current = leaf_hash(other, value_hash)
    else:
        current = EMPTY
    bits = _bits(path)
    for level in range(depth - 1, -1, -1):
        sibling = proof.siblings[level]
        current = node_hash(sibling, current) if bits >> (255 - level) & 1 else node_hash(current, sibling)
    return current


def _bits(path: bytes) -> int:
    return int.from_bytes(path, "big")
