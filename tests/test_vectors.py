"""Outside vectors, read from FOLKMOOT_VECTORS (a folder; beside the project by default) and skipped visibly when absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from p2p import vrf
from p2p.codec import decode
from p2p.consensus import validators as v
from p2p.consensus.validators import ValidatorSet
from p2p.errors import RemoteProtocolError
from p2p.keys import Key, verify_raw
from p2p.verification import merkle

FOLDER = Path(os.environ.get("FOLKMOOT_VECTORS") or Path(__file__).parent.parent.parent / "shared" / "vectors")


def load(name: str) -> Any:
    if not (FOLDER / name).exists():
        pytest.skip(f"no vectors at {FOLDER / name}; set FOLKMOOT_VECTORS")
    return json.loads((FOLDER / name).read_text())


# RFC 9381, appendix B.3 (ECVRF-EDWARDS25519-SHA512-TAI): secret key, alpha, pi, beta
RFC_9381 = [(
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
    "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab"
    "1268a1b0db10836d9826a528ca76567805",
    "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
)]


@pytest.mark.parametrize(("secret", "alpha", "proof", "beta"), RFC_9381)
def test_vrf_of_the_rfc(secret: str, alpha: str, proof: str, beta: str) -> None:
    seed = bytes.fromhex(secret)
    assert vrf.prove(seed, bytes.fromhex(alpha)).hex() == proof
    public = Key(seed).public
    found = vrf.verify(public, bytes.fromhex(alpha), bytes.fromhex(proof))
    assert found is not None
    assert found.hex() == beta


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


def _set(weights: dict[str, int]) -> ValidatorSet:
    return ValidatorSet.of([(name.encode(), weight) for name, weight in weights.items()])


def _named(priorities: dict[bytes, int]) -> dict[str, int]:
    return {key.decode(): value for key, value in priorities.items()}


def _elections(weights: dict[str, int], count: int) -> list[str]:
    members = _set(weights)
    priorities, found = v.first_priorities(members), []
    for _ in range(count):
        elected, priorities = v.increment(members, priorities, 1)
        found.append(elected.decode())
    return found


def _operations(case: dict[str, Any]) -> None:
    members = _set(case["weights"])
    elected, priorities = v.increment(members, v.first_priorities(members), 1)
    for step in case["steps"]:
        if step["op"] == "elect":
            found = []
            for _ in range(step["times"]):
                found.append(elected.decode())
                elected, priorities = v.increment(members, priorities, 1)
            assert found == step["expected"]
        elif step["op"] == "increment":
            elected, priorities = v.increment(members, priorities, step["times"])
            assert elected.decode() == step.get("proposer", elected.decode())
        else:
            changed = {**dict(members.members), **{name.encode(): power for name, power in step["changes"]}}
            new = ValidatorSet.of(list(changed.items()))
            priorities, members = v.update(members, new, priorities), new
        assert _named(priorities) == step.get("priorities_after", _named(priorities))


def test_proposer_selection() -> None:
    """Every case of the family, whatever its type."""
    for case in load("proposer-selection.json")["cases"]:
        if case["type"] == "sequence":
            assert _elections(case["weights"], len(case["expected"])) == case["expected"], case["name"]
        elif case["type"] == "counts":
            found = _elections(case["weights"], case["elections"])
            assert {name: found.count(name) for name in case["expected"]} == case["expected"], case["name"]
        elif case["type"] == "priorities":
            start = {name.encode(): value for name, value in case["start_priorities"].items()}
            for row in case["expected"]:
                elected, after = v.increment(_set(case["weights"]), start, row["times"])
                assert (elected.decode(), _named(after)) == (row["proposer"], row["priorities_after"]), case["name"]
        elif case["type"] == "priorities_shift":
            for row in case["cases"]:
                start = {bytes([i]): value for i, value in enumerate(row["start"])}
                assert list(v.centre(start, 0).values()) == row["after"], case["name"]
        else:
            assert case["type"] == "operations", f"unknown type {case['type']}"
            _operations(case)


def test_a_proposer_of_a_later_round_is_found_from_the_heights_own_set() -> None:
    members = _set({"a": 1, "b": 2, "c": 4})
    start = v.first_priorities(members)
    _, own = v.increment(members, start, 1)
    assert [v.proposer(members, start, r) for r in range(1, 9)] == [v.increment(members, own, r)[0] for r in range(1, 9)]


def test_priorities_survive_the_store_and_a_change_of_the_set() -> None:
    old, new = _set({"a": 3, "b": 4}), _set({"a": 3, "c": 9})
    _, priorities = v.increment(old, v.first_priorities(old), 5)
    raw = v.dump_priorities(old, priorities)
    assert v.load_priorities(raw, old) == priorities
    assert v.load_priorities(raw, new) == v.update(old, new, priorities)


def test_merkle_roots() -> None:
    family = load("rfc6962.json")
    for case in family["published"]:
        assert merkle.root([bytes.fromhex(leaf) for leaf in case["leaves"]]).hex() == case["root"], case["name"]
    leaves = [bytes.fromhex(leaf) for leaf in family["ct_leaves"]]
    for count, top in enumerate(family["ct_roots_of_first_n"], 1):
        assert merkle.root(leaves[:count]).hex() == top, count


def test_cbor_that_is_not_deterministic_or_malformed_is_refused() -> None:
    for name in ("cbor/malformed.json", "cbor/nondeterministic.json"):
        for case in load(name)["cases"]:
            with pytest.raises(RemoteProtocolError):
                decode(bytes.fromhex(case["hex"]))


def test_ed25519_verifier_is_the_pinned_one() -> None:
    """PyNaCl's column of the measured answers, over every family of edge cases."""
    measured = {row["case"]: row["pynacl"] for row in load("ed25519/measured.json")["speccheck"]}
    for index, case in enumerate(load("ed25519/speccheck-cases.json")):
        accepted = verify_raw(*(bytes.fromhex(case[name]) for name in ("pub_key", "message", "signature")))
        assert accepted == (measured[index] == "accept"), index
    cctv = {row["number"]: row["pynacl"] for row in load("ed25519/measured.json")["cctv"]}
    for case in load("ed25519/cctv-ed25519vectors.json"):
        accepted = verify_raw(bytes.fromhex(case["key"]), case["msg"].encode(), bytes.fromhex(case["sig"]))
        assert accepted == (cctv[case["number"]] == "accept"), case["number"]


def test_merkle_paths_prove_their_leaf_only() -> None:
    for size in range(1, 20):
        leaves = [bytes([i]) for i in range(size)]
        top = merkle.root(leaves)
        for index in range(size):
            path = merkle.prove(leaves, index)
            assert merkle.verify(leaves[index], index, size, path, top)
            assert not merkle.verify(b"x", index, size, path, top)
            assert not merkle.verify(leaves[index], (index + 1) % size if size > 1 else 1, size, path, top)
