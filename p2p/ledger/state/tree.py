"""The state tree: one hash that stands for every key and value of the state. Law: the root is a function of the set of pairs alone, not
of how the state came about; a key is shown to be there, or not to be there, by the hashes beside its path (proofs.py).

A compact binary sparse Merkle tree, latest version only. H is SHA-256, || joins bytes, bits of a path go from the most significant on.

    path(key)   = H(key)                                     256 bits: left at 0, right at 1
    empty       = H(0x12)
    leaf        = H(0x10 || path(key) || H(value))
    node(l, r)  = H(0x11 || l || r)
    tree(none)  = empty        tree(one pair) = its leaf, at whatever depth        tree(more) = node(tree(bit 0), tree(bit 1))

The first bytes differ from each other and from those of merkle.py, so no hash of one kind passes for another.

In the store four levels are one page, under its position: "/" and the path's first hexadecimal digits, so that a subtree's pages lie side
by side. A page is two 16-bit masks, big-endian (bit i: slot i is not empty; bit i: it is a leaf), then the slots that are not empty in
order. A slot is what stands four levels below: b"" (empty), 32 bytes (the hash of more than one leaf: there is a page below), or 96
bytes (one leaf: its hash, path, H(value)). Only the root's page may hold fewer than two leaves; an empty tree has no page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from p2p.base.errors import LocalProtocolError
from p2p.base.keys import digest
from p2p.base.resumable import Resumable, run_to_end

EMPTY = sha256(b"\x12").digest()
ROOT = b"/"
HASH_BYTES, LEAF_BYTES = 32, 96
LEVELS = 4  # in one page
MAX_DEPTH = 256 // LEVELS  # pages over one another, so the descent below never goes deeper than 64 calls
_DIGITS = [b"%x" % i for i in range(16)]

Read = Callable[[bytes], bytes | None]  # a page by its position
Slots = list[bytes]
Leaf = tuple[bytes, bytes]  # (path, slot); the slot of 96 bytes, or b"" for a key that goes


def app_hash(root: bytes) -> bytes:
    """What the next header says of the state."""
    return digest(b"app", root)


def path_of(key: bytes) -> bytes:
    return sha256(key).digest()


def leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x10" + path + value_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x11" + left + right).digest()


def hash_of(slot: bytes) -> bytes:
    """The hash that stands for a slot one level up."""
    return slot[:HASH_BYTES] if slot else EMPTY


def leaf_of(key: bytes, value: bytes | None) -> Leaf:
    """value None: the key goes."""
    path = sha256(key).digest()
    if value is None:
        return path, b""
    rest = path + sha256(value).digest()
    return path, sha256(b"\x10" + rest).digest() + rest


def update(read: Read, changes: Mapping[bytes, bytes | None]) -> tuple[bytes, dict[bytes, bytes | None]]:
    """The root after `changes` (key -> value, None deletes), and what becomes of the pages: position -> page, None deletes.
    Each page that a change touches is read and hashed once. Raises LocalProtocolError when a page is missing."""
    return run_to_end(update_resumably(read, changes))


def update_resumably(read: Read, changes: Mapping[bytes, bytes | None]) -> Resumable[tuple[bytes, dict[bytes, bytes | None]]]:
    """`update`: a step for each change's leaf, then one for each sixteenth of the tree."""
    writes: dict[bytes, bytes | None] = {}
    leaves: list[Leaf] = []
    for change in changes.items():
        leaves.append(leaf_of(*change))
        yield
    slots = open_page(read(ROOT))
    for digit, group in _by_digit(ROOT, sorted(leaves)).items():
        _place(read, writes, ROOT, slots, digit, group)
        yield
    writes[ROOT] = pack_page(slots) if any(slots) else None
    return hash_of(fold(slots)), writes


def root_of(read: Read) -> bytes:
    return hash_of(fold(open_page(read(ROOT))))


def subtree(leaves: Iterable[Leaf], digits: int) -> bytes:
    """The slot that stands `digits` hexadecimal digits below the root for these leaves (all of that place), made from nothing."""
    found = [(path, slot) for path, slot in leaves if slot]
    if len(found) < 2:
        return found[0][1] if found else b""
    return _descend(lambda _: None, {}, ROOT + b"?" * digits, [b""] * 16, found)


def _descend(read: Read, writes: dict[bytes, bytes | None], position: bytes, slots: Slots, changes: Sequence[Leaf]) -> bytes:
    """Apply `changes`, which all belong under `position`, to its page `slots`; the slot that stands for it one page up."""
    for digit, group in _by_digit(position, changes).items():
        _place(read, writes, position, slots, digit, group)
    slot = fold(slots)
    writes[position] = pack_page(slots) if len(slot) == HASH_BYTES else None  # a single leaf stands in the page above
    return slot


def _by_digit(position: bytes, changes: Sequence[Leaf]) -> dict[int, list[Leaf]]:
    """By the slot of the page at `position` that they belong to."""
    byte, low = divmod(len(position) - 1, 2)
    groups: dict[int, list[Leaf]] = {}
    for change in changes:
        digit = change[0][byte] & 15 if low else change[0][byte] >> 4
        group = groups.get(digit)
        if group is None:
            groups[digit] = [change]
        else:
            group.append(change)
    return groups


def _place(read: Read, writes: dict[bytes, bytes | None], position: bytes, slots: Slots, digit: int, group: Sequence[Leaf]) -> None:
    """Apply the changes of one slot of the page at `position`."""
    old, below = slots[digit], position + _DIGITS[digit]
    if len(old) == HASH_BYTES:
        page = read(below)
        if page is None:
            raise LocalProtocolError(f"page {below.decode()} of the state tree is missing", field="tree")
        slots[digit] = _descend(read, writes, below, open_page(page), group)
        return
    left = [change for change in group if change[1]]
    if old and all(path != old[32:64] for path, _ in group):
        left.append((old[32:64], old))
    if len(left) < 2:
        slots[digit] = left[0][1] if left else b""
    else:
        slots[digit] = _descend(read, writes, below, [b""] * 16, left)


def fold(slots: Sequence[bytes]) -> bytes:
    """The one slot that stands for these, whose number is a power of two."""
    while len(slots) > 1:
        slots = level_above(slots)
    return slots[0]


def level_above(slots: Sequence[bytes]) -> list[bytes]:
    """Each two as one: what is alone goes up when it is a leaf, and is a node's child when it is more."""
    above, pairs = [], iter(slots)
    for left, right in zip(pairs, pairs, strict=True):
        if left and right:
            above.append(sha256(b"\x11" + left[:32] + right[:32]).digest())
        elif len(left) == HASH_BYTES:
            above.append(sha256(b"\x11" + left + EMPTY).digest())
        elif len(right) == HASH_BYTES:
            above.append(sha256(b"\x11" + EMPTY + right).digest())
        else:
            above.append(left or right)
    return above


def pack_page(slots: Sequence[bytes]) -> bytes:
    used = leaves = 0
    for at, slot in enumerate(slots):
        if slot:
            used |= 1 << at
            if len(slot) == LEAF_BYTES:
                leaves |= 1 << at
    return used.to_bytes(2, "big") + leaves.to_bytes(2, "big") + b"".join(slots)


def open_page(page: bytes | None) -> Slots:
    """The sixteen slots of a page that `pack_page` made; of none, empty ones."""
    slots = [b""] * 16
    if page is None:
        return slots
    used, leaves, at = page[0] << 8 | page[1], page[2] << 8 | page[3], 4
    for slot in range(16):
        if used >> slot & 1:
            end = at + (LEAF_BYTES if leaves >> slot & 1 else HASH_BYTES)
            slots[slot] = page[at:end]
            at = end
    return slots
