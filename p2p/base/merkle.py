"""Merkle trees of RFC 6962 (section 2.1) with SHA-256: roots, audit paths, and roots that grow leaf by leaf.

Law: hashes of leaves and of nodes have different prefixes, so an inner node cannot be shown as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node from those of its two children, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaves, 32 bytes; of no leaves it is SHA-256 of the empty string."""
    return root_of(list(map(leaf_hash, leaves)))


def root_of(hashes: list[bytes]) -> bytes:
    """Root over leaf hashes, for a caller that does not have the leaves."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    while len(hashes) > 1:
        paired = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(hashes) - len(hashes) % 2 :] if len(hashes) % 2 else paired
    return hashes[0]


def grow(peaks: Sequence[bytes], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """The peaks of a tree that had `size` leaves, after one more leaf hash.

    Peaks are the roots of the tree's full subtrees, the largest first, one for each bit that is set in its size. With
    them a tree can grow without its leaves.
    """
    found, current = list(peaks), leaf
    while size & 1:
        current, size = node_hash(found.pop(), current), size >> 1
    return (*found, current)


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """Root of the tree with these peaks."""
    if not peaks:
        return root_of([])
    current = peaks[-1]
    for peak in reversed(peaks[:-1]):
        current = node_hash(peak, current)
    return current


def prove(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of leaf `index` (RFC 6962, section 2.1.1): the sibling hashes from the leaf up."""
    return prove_of(list(map(leaf_hash, leaves)), index)


def prove_of(hashes: list[bytes], index: int) -> list[bytes]:
    """As `prove`, over leaf hashes."""
    path = []
    while len(hashes) > 1:
        sibling = index ^ 1
        if sibling < len(hashes):
            path.append(hashes[sibling])
        odd = hashes[-1:] if len(hashes) % 2 else []
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)] + odd
        index //= 2
    return path


def verify(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether `leaf` is leaf number `index` of a tree with `size` leaves and root `expected`."""
    if not 0 <= index < size:
        return False
    current, rest = leaf_hash(leaf), list(path)
    while size > 1:
        sibling = index ^ 1
        if sibling < size:
            if not rest:
                return False
            other = rest.pop(0)
            current = node_hash(other, current) if index % 2 else node_hash(current, other)
        index //= 2
        size = (size + 1) // 2
    return not rest and current == expected
