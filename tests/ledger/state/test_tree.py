"""The state tree against a simple model: its definition, written a second time over a dict."""

from __future__ import annotations

import itertools
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.codec import encode, unpack
from p2p.base.errors import LocalProtocolError, RemoteProtocolError
from p2p.ledger.state import proofs, tree
from p2p.ledger.state.proofs import TreeProof, prove, verify_proof

KEYS = [b"key %d" % i for i in range(60)]
keys = st.sampled_from(KEYS)
states = st.dictionaries(keys, st.binary(max_size=5))
steps = st.lists(st.dictionaries(keys, st.none() | st.binary(max_size=5)), max_size=6)


def model(state: dict[bytes, bytes]) -> bytes:
    """The definition in tree.py's docstring, bit by bit."""
    leaves = {
        sha256(k).digest(): sha256(b"\x10" + sha256(k).digest() + sha256(v).digest()).digest() for k, v in state.items()
    }

    def root(paths: list[bytes], depth: int) -> bytes:
        if not paths:
            return sha256(b"\x12").digest()
        if len(paths) == 1:
            return leaves[paths[0]]
        halves = [[p for p in paths if p[depth // 8] >> (7 - depth % 8) & 1 == bit] for bit in (0, 1)]
        return sha256(b"\x11" + root(halves[0], depth + 1) + root(halves[1], depth + 1)).digest()

    return root(sorted(leaves), 0)


class Kept:
    """Pages in a dict, as a store keeps them."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.root = tree.EMPTY
        self.reads = 0

    def read(self, position: bytes) -> bytes | None:
        self.reads += 1
        return self.pages.get(position)

    def change(self, changes: dict[bytes, bytes | None] | dict[bytes, bytes]) -> None:
        self.root, writes = tree.update(self.read, changes)
        for position, page in writes.items():
            if page is None:
                assert self.pages.pop(
                    position, None
                ) is not None or position == tree.ROOT, "only pages that exist are deleted"
            else:
                self.pages[position] = page


def made(state: dict[bytes, bytes]) -> Kept:
    kept = Kept()
    kept.change(state)
    return kept


@settings(max_examples=200, deadline=None)
@given(steps)
def test_root_and_pages_depend_only_on_the_state(changes: list[dict[bytes, bytes | None]]) -> None:
    kept, state = Kept(), dict[bytes, bytes]()
    for change in changes:
        kept.change(change)
        for key, value in change.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        assert kept.root == model(state) == tree.root_of(kept.read)
        assert kept.pages == made(state).pages, "no page of an earlier state is left"


@settings(deadline=None)
@given(states, st.randoms(use_true_random=False))
def test_the_order_of_changes_does_not_matter(state: dict[bytes, bytes], random: object) -> None:
    shuffled = list(state.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one_by_one = Kept()
    for key, value in shuffled:
        one_by_one.change({key: value})
    assert one_by_one.root == made(dict(shuffled)).root == made(state).root


@settings(deadline=None)
@given(states)
def test_adding_and_removing_keys_leaves_the_tree_as_it_was(state: dict[bytes, bytes]) -> None:
    kept = made(state)
    before = (kept.root, dict(kept.pages))
    visitors = {b"visitor %d" % i: b"x" for i in range(40)}
    kept.change(visitors)
    assert kept.root != before[0]
    kept.change(dict.fromkeys(visitors))
    assert (kept.root, kept.pages) == before
    kept.change(dict.fromkeys(state))
    assert (kept.root, kept.pages) == (tree.EMPTY, {})


@settings(deadline=None)
@given(states)
def test_presence_or_absence_of_every_key_is_proved(state: dict[bytes, bytes]) -> None:
    kept = made(state)
    for key in KEYS:
        proof = prove(kept.read, key)
        assert unpack(TreeProof, encode(proof)) == proof
        assert verify_proof(kept.root, key, state.get(key), proof)
        assert not verify_proof(kept.root, key, None if key in state else b"", proof), "and the contrary is not proved"
        assert not verify_proof(kept.root, key, b"another", proof)
        assert not verify_proof(
            tree.EMPTY if state else tree.node_hash(tree.EMPTY, tree.EMPTY), key, state.get(key), proof
        )


def test_a_proof_is_of_its_key_only() -> None:
    kept = made(dict.fromkeys(KEYS, b"same"))
    for key, other in itertools.pairwise(KEYS):
        assert not verify_proof(kept.root, other, b"same", prove(kept.read, key))
        assert not verify_proof(kept.root, b"absent", None, prove(kept.read, key))


@pytest.mark.parametrize("key", [KEYS[0], b"absent 0", b"absent 1", b"absent 7"])
def test_no_changed_byte_of_a_proof_passes(key: bytes) -> None:
    state = dict.fromkeys(KEYS[:9], b"v")
    kept = made(state)
    raw = encode(prove(kept.read, key))
    for at in range(len(raw)):
        for flip in (1, 0x80, 0xFF):
            bad = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            try:
                proof = unpack(TreeProof, bad)
            except RemoteProtocolError:
                continue
            assert not verify_proof(kept.root, key, state.get(key), proof), f"byte {at}"


def test_both_kinds_of_absence_are_met() -> None:
    kept = made(dict.fromkeys(KEYS[:9], b"v"))
    kinds = {prove(kept.read, b"absent %d" % i).other is None for i in range(50)}
    assert kinds == {True, False}


def test_a_shape_that_the_tree_cannot_have_proves_nothing() -> None:
    """A leaf under a longer path, an inner node given as a leaf, a position below an existing leaf."""
    kept = made({KEYS[0]: b"v", KEYS[1]: b"w"})
    proof = prove(kept.read, KEYS[0])
    for wrong in (
        TreeProof((), None), TreeProof((*proof.siblings, tree.EMPTY), None), TreeProof(proof.siblings[1:], None),
        TreeProof((*proof.siblings,) * 300, None),
    ):
        assert not verify_proof(kept.root, KEYS[0], b"v", wrong)
        assert not verify_proof(kept.root, KEYS[0], None, wrong)
    path, value_hash = tree.path_of(KEYS[0]), tree.path_of(b"v")
    assert not verify_proof(
        kept.root, KEYS[0], None, TreeProof(proof.siblings, (path, value_hash))
    ), "its own leaf is not accepted as another leaf"
    assert not verify_proof(
        kept.root, KEYS[1], None, TreeProof(proof.siblings, (path, value_hash))
    ), "a leaf of another position"


def twins(bits: int) -> tuple[bytes, bytes]:
    """Two keys whose paths begin with the same `bits` bits."""
    seen: dict[int, bytes] = {}
    for i in range(1 << 20):
        key = b"twin %d" % i
        head = int.from_bytes(tree.path_of(key), "big") >> (256 - bits)
        if head in seen:
            return seen[head], key
        seen[head] = key
    raise AssertionError("no twins")


def test_long_common_prefixes_make_pages_and_deletion_collapses_them() -> None:
    one, two = twins(22)
    kept = made({one: b"1", two: b"2"})
    assert kept.root == model({one: b"1", two: b"2"})
    assert len(kept.pages) >= 6
    assert verify_proof(kept.root, one, b"1", prove(kept.read, one))
    kept.change({two: None})
    assert (set(kept.pages), kept.root) == ({tree.ROOT}, model({one: b"1"}))


def test_paths_that_share_255_bits_need_no_deep_recursion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find such keys; with them there would be 64 pages above one another."""
    paths = {b"0": bytes(32), b"1": bytes(31) + b"\x01"}

    def hashed(key: bytes) -> tuple[bytes, bytes]:
        rest = paths[key] + sha256(b"v").digest()
        return paths[key], sha256(b"\x10" + rest).digest() + rest

    monkeypatch.setattr(tree, "leaf_of", lambda key, value: hashed(key) if value else (paths[key], b""))
    monkeypatch.setattr(proofs, "path_of", lambda raw: paths.get(raw) or sha256(raw).digest())
    kept = made({b"0": b"v", b"1": b"v"})
    assert len(kept.pages) == tree.PATH_BITS // tree.LEVELS
    proof = prove(kept.read, b"1")
    assert len(proof.siblings) == 256
    assert verify_proof(kept.root, b"1", b"v", proof)
    kept.change({b"1": None})
    assert set(kept.pages) == {tree.ROOT}


def test_an_update_reads_only_the_pages_on_its_path() -> None:
    kept = made({b"%d" % i: b"v" for i in range(20_000)})
    kept.reads = 0
    kept.change({b"7": b"w"})
    assert kept.reads <= 6, "about log16 of the number of keys"
    assert kept.root == model({b"%d" % i: b"w" if i == 7 else b"v" for i in range(20_000)})


def test_a_missing_page_is_an_error() -> None:
    kept = made(dict.fromkeys(KEYS, b"v"))
    for position in [p for p in kept.pages if p != tree.ROOT]:
        del kept.pages[position]
    with pytest.raises(LocalProtocolError, match="missing"):
        kept.change(dict.fromkeys(KEYS, b"w"))


def test_golden_vectors() -> None:
    """The exact bytes, which another implementation must reproduce."""
    assert tree.EMPTY.hex() == "f299791cddd3d6664f6670842812ef6053eb6501bd6282a476bbbf3ee91e750c"
    for state, root in (
        ({b"a": b"1"}, "09a1f2c725270ca11b42fb98e154f01619ed441d9c09967d416d32bab45815a9"),
        ({b"a": b"1", b"b": b"2"}, "a8b931e031964af446578a577342fd90be4f776a4c52f212c9ea0ebc3b302cad"),
        (
            {b"%d" % i: b"%d" % (i * i) for i in range(100)},
            "07f74961874186301737056681fe3a4ce2582338c1cfea6d664acb34a00fc9d8"
        ),
    ):
        assert made(state).root.hex() == model(state).hex() == root
    assert tree.app_hash(tree.EMPTY).hex() == "a56406fcad803249bd31ad00f9933e1b24dd1544d1389acea1022dd004fbe2f3"
    page = made({b"a": b"1", b"b": b"2"}).pages[tree.ROOT]
    assert (len(page), page[:4].hex()) == (4 + 2 * 96, "10081008"), "paths ca.. and 3e..: slots 12 and 3"
    proof = prove(made({b"a": b"1", b"b": b"2"}).read, b"a")
    assert [s.hex()[:16] for s in proof.siblings] == [tree.leaf_of(b"b", b"2")[1].hex()[:16]]
