"""Published test vectors by family, skipped visibly where they are absent; and properties that no vector covers."""

from __future__ import annotations

import pytest

from p2p.base import merkle, vrf
from p2p.base.keys import Key
from p2p.consensus import validators as v
from p2p.consensus.validators import ValidatorSet
from tests.conformance import folder
from tests.conformance.__main__ import FAMILIES, check
from tests.conformance.case import Absent


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str) -> None:
    try:
        passed, total, failed = check(family, folder())
    except Absent as absent:
        pytest.skip(f"no vectors at {absent}; set FOLKMOOT_VECTORS")
    assert passed == total > 0, "\n".join(failed[:5])


def _set(weights: dict[str, int]) -> ValidatorSet:
    return ValidatorSet.of([(name.encode(), weight) for name, weight in weights.items()])


def test_vrf_refuses_other_input_key_and_bytes() -> None:
    key, other = Key(b"\x01" * 32), Key(b"\x02" * 32)
    proof = vrf.prove(key.seed, b"a")
    assert vrf.verify(key.public, b"a", proof) is not None
    assert vrf.verify(key.public, b"b", proof) is None
    assert vrf.verify(other.public, b"a", proof) is None
    for at in range(0, 80, 7):
        changed = bytearray(proof)
        changed[at] ^= 1
        assert vrf.verify(key.public, b"a", bytes(changed)) is None


def test_a_proposer_of_a_later_round_is_found_from_the_heights_own_set() -> None:
    members = _set({"a": 1, "b": 2, "c": 4})
    start = v.first_priorities(members)
    _, own = v.increment(members, start, 1)
    rounds = range(1, 9)
    assert [v.proposer(members, start, r) for r in rounds] == [v.increment(members, own, r)[0] for r in rounds]


def test_priorities_survive_the_store_and_a_change_of_the_set() -> None:
    old, new = _set({"a": 3, "b": 4}), _set({"a": 3, "c": 9})
    _, priorities = v.increment(old, v.first_priorities(old), 5)
    raw = v.dump_priorities(old, priorities)
    assert v.load_priorities(raw, old) == priorities
    assert v.load_priorities(raw, new) == v.update(old, new, priorities)


def test_merkle_paths_prove_their_leaf_only() -> None:
    for size in range(1, 20):
        leaves = [bytes([i]) for i in range(size)]
        top = merkle.root(leaves)
        for index in range(size):
            path = merkle.prove(leaves, index)
            assert merkle.verify(leaves[index], index, size, path, top)
            assert not merkle.verify(b"x", index, size, path, top)
            assert not merkle.verify(leaves[index], (index + 1) % size if size > 1 else 1, size, path, top)
