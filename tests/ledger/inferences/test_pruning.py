"""What leaves the state stays provable: an epoch's root is that of an RFC 6962 tree over exactly the inferences that
left, in the order in which they left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base import merkle
from p2p.ledger.end_of_block import end_of_block
from p2p.ledger.inferences import pruning as leaving
from p2p.ledger.inferences.pruning import Left, leaf_of
from p2p.ledger.money import epoch_accounts as earnings
from tests.ledger.lab import STEADY, Lab


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_incremental_tree_has_the_root_of_all_leaves_at_every_size(leaves: list[bytes]) -> None:
    peaks: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        assert merkle.root_of_peaks(peaks) == merkle.root(leaves[:size])
        assert len(peaks) == size.bit_count()
        peaks = merkle.grow(peaks, size, merkle.leaf_hash(leaf))
    assert merkle.root_of_peaks(peaks) == merkle.root(leaves)


def expired(lab: Lab, counts: list[int]) -> dict[bytes, int]:
    """counts[i] inferences end in epoch i: id -> epoch."""
    found = {}
    for epoch, count in enumerate(counts):
        found |= {bytes(lab.start(deadline=3).inference_id): epoch for _ in range(count)}
        lab.block((epoch + 1) * lab.genesis.epoch_blocks - lab.height + 1)
    return found


def until_all_left(lab: Lab, epochs: int) -> list[Left]:
    found: list[Left] = []
    for _ in range(200):
        found += end_of_block(lab.ctx, bytes([lab.height % 256]) * 32)
        lab.height += 1
        if leaving.leaving(lab.view).epoch >= epochs:
            return found
    raise AssertionError("they never left")


@pytest.mark.parametrize("most", [1, 3, 256])
def test_an_epochs_root_is_of_what_left_in_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(leaving, "MAX_LEAVING", most)
    lab = Lab(epoch_blocks=20, economy=replace(STEADY, keep_epochs=3))
    ended = expired(lab, [7, 0, 5])
    before = {inference_id: lab.view.get(b"inf/" + inference_id) for inference_id in ended}
    assert [leaving.is_kept(lab.view, epoch) for epoch in range(3)] == [True] * 3
    found = until_all_left(lab, 3)
    assert {one.inference_id: one.epoch for one in found} == ended
    assert all(one.record == before[one.inference_id] for one in found), "its last record"
    for epoch, count in enumerate([7, 0, 5]):
        mine, sums = [one for one in found if one.epoch == epoch], earnings.sums(lab.view, epoch)
        assert [one.index for one in mine] == list(range(count))
        assert sums.left == count
        assert sums.left_root == merkle.root([leaf_of(one.inference_id, one.record) for one in mine])
        assert not leaving.is_kept(lab.view, epoch)
    assert not [
        key for key, value in lab.view.changes.items() if key.startswith((b"inf/", b"ended/")) and value is not None
    ]


def test_an_epoch_has_no_root_before_all_of_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "MAX_LEAVING", 2)
    lab = Lab(epoch_blocks=20, economy=replace(STEADY, keep_epochs=1))
    expired(lab, [5])
    lab.block(40 - lab.height)
    assert (leaving.leaving(lab.view).size, leaving.is_kept(lab.view, 0)) == (0, True)
    lab.block()
    assert (leaving.leaving(lab.view).size, leaving.is_kept(lab.view, 0)) == (2, False)
    assert earnings.sums(lab.view, 0).left_root is None
    lab.block(3)
    assert earnings.sums(lab.view, 0).left == 5


def test_another_order_of_leaves_has_another_root() -> None:
    """So a peer cannot claim another index for a leaf than the chain's."""
    leaves = [leaf_of(bytes([i]) * 32, b"r") for i in range(5)]
    root = merkle.root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.prove(leaves, index)
        assert merkle.verify(leaf, index, 5, path, root)
        assert not any(merkle.verify(leaf, other, 5, path, root) for other in range(5) if other != index)
