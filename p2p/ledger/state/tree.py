"""The state tree: one hash that stands for every key and value of the state. Law: the root is a function of the set of
pairs alone, not of the order in which they came; sibling hashes prove that a key is there, or that it is not
(proofs.py).

It is a compact binary sparse Merkle tree of the latest state only. H is SHA-256, || joins bytes, the bits of a path are
read from the most significant one.

    path(key)   = H(key)                                     256 bits: left at 0, right at 1
    empty       = H(0x12)
    leaf        = H(0x10 || path(key) || H(value))
    node(l, r)  = H(0x11 || l || r)
    tree(none)     = empty
    tree(one pair) = its leaf, at whatever depth
    tree(more)     = node(tree(those with bit 0), tree(those with bit 1))

The first bytes differ from each other and from those of merkle.py, so no hash of one kind passes for another.

The store keeps four levels as one page. Its key is its position: "/" and the first hexadecimal digits of its paths, so
the pages of a subtree are neighbours. A page is two 16-bit masks, big-endian (first: bit i is set where slot i is not
empty; second: where it is a leaf), then the slots that are not empty, in order. A slot is what stands four levels
below: b"" (empty), 32 bytes (the hash of more than one leaf, whose page is below), or 96 bytes (one leaf: its hash,
path, H(value)). Only the root's page may hold fewer than two leaves. An empty tree has no page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from p2p.base.errors import LocalProtocolError
from p2p.base.keys import digest
from p2p.base.resumable import Resumable, run_to_end

_LEAF, _NODE, _EMPTY = b"\x10", b"\x11", b"\x12"  # first byte of what is hashed
EMPTY = sha256(_EMPTY).digest()
ROOT = b"/"  # position of the root's page
HASH_BYTES = 32
LEAF_BYTES = 3 * HASH_BYTES
PATH_BITS = 8 * HASH_BYTES
LEVELS = 4  # in one page
SLOTS = 1 << LEVELS  # of one page
_MASK_BYTES = SLOTS // 8
_DIGITS = [b"%x" % i for i in range(SLOTS)]

Read = Callable[[bytes], bytes | None]  # position -> page, None where there is none
Slots = list[bytes]  # SLOTS of them
Leaf = tuple[bytes, bytes]  # (path, slot of LEAF_BYTES), or (path, b"") for a deleted key


def app_hash(root: bytes) -> bytes:
    """What the next block's header says of the state. root: of the state tree."""
    return digest(b"app", root)


def path_of(key: bytes) -> bytes:
    """H(key); of a value, H(value)."""
    return sha256(key).digest()


def leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(_LEAF + path + value_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()


def hash_of(slot: bytes) -> bytes:
    """A slot's hash, as the level above uses it."""
    return slot[:HASH_BYTES] if slot else EMPTY


def leaf_of(key: bytes, value: bytes | None) -> Leaf:
    """The leaf of a pair; value None: the key is deleted."""
    path = sha256(key).digest()
    if value is None:
        return path, b""
    rest = path + sha256(value).digest()
    return path, sha256(_LEAF + rest).digest() + rest


def split_leaf(slot: bytes) -> tuple[bytes, bytes]:
    """(path, H(value)) of a leaf's slot."""
    return slot[HASH_BYTES : 2 * HASH_BYTES], slot[2 * HASH_BYTES :]


def update(read: Read, changes: Mapping[bytes, bytes | None]) -> tuple[bytes, dict[bytes, bytes | None]]:
    """(root, pages) after `changes`. changes: key -> value, None deletes the key. pages: position -> page, None
    deletes the page.

    Every page that a change touches is read and hashed once. Raises LocalProtocolError when a page is missing."""
    return run_to_end(update_resumably(read, changes))


def update_resumably(
    read: Read, changes: Mapping[bytes, bytes | None]
) -> Resumable[tuple[bytes, dict[bytes, bytes | None]]]:
    """`update` in steps: one for each change, then one for each sixteenth of the tree that changes."""
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
    """The slot of the subtree that is `digits` hexadecimal digits below the root. leaves: all leaves of that
    subtree."""
    found = [(path, slot) for path, slot in leaves if slot]
    if len(found) < 2:
        return found[0][1] if found else b""
    return _descend(lambda _: None, {}, ROOT + b"?" * digits, [b""] * SLOTS, found)


def _descend(
    read: Read, writes: dict[bytes, bytes | None], position: bytes, slots: Slots, changes: Sequence[Leaf]
) -> bytes:
    """Apply `changes`, which all belong below `position`, to its page `slots`. Returns the page's slot in the page
    above. Recurses PATH_BITS / LEVELS = 64 deep at most."""
    for digit, group in _by_digit(position, changes).items():
        _place(read, writes, position, slots, digit, group)
    slot = fold(slots)
    writes[position] = pack_page(slots) if len(slot) == HASH_BYTES else None  # a single leaf is a slot above
    return slot


def _by_digit(position: bytes, changes: Sequence[Leaf]) -> dict[int, list[Leaf]]:
    """slot -> changes, by the slot of the page at `position` that they belong to."""
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


def _place(
    read: Read, writes: dict[bytes, bytes | None], position: bytes, slots: Slots, digit: int, group: Sequence[Leaf]
) -> None:
    """Apply the changes of slot `digit` of the page at `position`."""
    old, below = slots[digit], position + _DIGITS[digit]
    if len(old) == HASH_BYTES:
        page = read(below)
        if page is None:
            raise LocalProtocolError(f"page {below.decode()} of the state tree is missing from the store", field="tree")
        slots[digit] = _descend(read, writes, below, open_page(page), group)
        return
    left = [change for change in group if change[1]]
    if old and all(path != split_leaf(old)[0] for path, _ in group):
        left.append((split_leaf(old)[0], old))
    if len(left) < 2:
        slots[digit] = left[0][1] if left else b""
    else:
        slots[digit] = _descend(read, writes, below, [b""] * SLOTS, left)


def fold(slots: Sequence[bytes]) -> bytes:
    """The one slot above these; their number is a power of two."""
    while len(slots) > 1:
        slots = level_above(slots)
    return slots[0]


def level_above(slots: Sequence[bytes]) -> list[bytes]:
    """One slot for each two. A single leaf moves up as it is; anything else becomes a node with its neighbour, empty
    or not."""
    above, pairs = [], iter(slots)
    for left, right in zip(pairs, pairs, strict=True):
        if left and right:
            above.append(sha256(_NODE + left[:HASH_BYTES] + right[:HASH_BYTES]).digest())
        elif len(left) == HASH_BYTES:
            above.append(sha256(_NODE + left + EMPTY).digest())
        elif len(right) == HASH_BYTES:
            above.append(sha256(_NODE + EMPTY + right).digest())
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
    return used.to_bytes(_MASK_BYTES, "big") + leaves.to_bytes(_MASK_BYTES, "big") + b"".join(slots)


def open_page(page: bytes | None) -> Slots:
    """The slots of a page that `pack_page` made; all empty for None."""
    slots = [b""] * SLOTS
    if page is None:
        return slots
    used, leaves, at = page[0] << 8 | page[1], page[2] << 8 | page[3], 2 * _MASK_BYTES
    for slot in range(SLOTS):
        if used >> slot & 1:
            end = at + (LEAF_BYTES if leaves >> slot & 1 else HASH_BYTES)
            slots[slot] = page[at:end]
            at = end
    return slots
