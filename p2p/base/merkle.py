"""RFC 6962 Merkle trees. Law: leaf and node hashes differ by prefix, so no node passes for a leaf."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over raw leaves; the empty tree is SHA-256 of nothing."""
    return root_of(list(map(leaf_hash, leaves)))


def root_of(hashes: list[bytes]) -> bytes:
    """Root over leaf hashes: whoever has them need not have the leaves."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    while len(hashes) > 1:
        paired = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(hashes) - len(hashes) % 2 :] if len(hashes) % 2 else paired
    return hashes[0]


def grow(peaks: Sequence[bytes], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """The peaks of a tree that had `size` leaves and gets one more leaf hash. Peaks: the roots of its full subtrees, the largest first, one for
    each bit of its size; whoever has them can go on without the leaves."""
    found, current = list(peaks), leaf
    while size & 1:
        current, size = node_hash(found.pop(), current), size >> 1
    return (*found, current)


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """Root of the tree that has these peaks."""
    if not peaks:
        return root_of([])
    current = peaks[-1]
    for peak in reversed(peaks[:-1]):
        current = node_hash(peak, current)
    return current


def prove(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of leaf `index`, from the leaf up."""
    return prove_of(list(map(leaf_hash, leaves)), index)


def prove_of(hashes: list[bytes], index: int) -> list[bytes]:
    """Audit path over leaf hashes."""
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
    """True when `leaf` is number `index` of `size` under `expected`."""
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
