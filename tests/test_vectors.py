"""Outside vectors, read from FOLKMOOT_VECTORS (a folder; beside the project by default) and skipped visibly when absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from p2p import vrf
from p2p.consensus.validators import ValidatorSet, advance
from p2p.keys import Key
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


def test_proposer_sequences() -> None:
    cases = load("proposer-selection.json")
    assert cases


def test_proposer_is_proportional_and_fair() -> None:
    members = ValidatorSet.of([(b"a" * 32, 1), (b"b" * 32, 2), (b"c" * 32, 4)])
    priorities = {key: 0 for key, _ in members.members}
    counts = {key: 0 for key, _ in members.members}
    for _ in range(700):
        elected, priorities = advance(members, priorities)
        counts[elected] += 1
    assert [counts[key] for key, _ in members.members] == [100, 200, 400]


def test_merkle_paths_prove_their_leaf_only() -> None:
    for size in range(1, 20):
        leaves = [bytes([i]) for i in range(size)]
        top = merkle.root(leaves)
        for index in range(size):
            path = merkle.prove(leaves, index)
            assert merkle.verify(leaves[index], index, size, path, top)
            assert not merkle.verify(b"x", index, size, path, top)
            assert not merkle.verify(leaves[index], (index + 1) % size if size > 1 else 1, size, path, top)
