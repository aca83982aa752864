"""Ed25519 edge cases, ECVRF of RFC 9381, RFC 6962 roots and paths, CBOR. One verifier is pinned: its answers are
written down here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from p2p.base import merkle, vrf
from p2p.base.codec import decode, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Key, verify_raw
from tests.conformance.case import Case, files, read

# speccheck's cases, in order, that the pinned verifier (libsodium through PyNaCl) accepts: it refuses small-order A
# and R, checks without the cofactor, and refuses S >= L and what is not canonical
SPECCHECK_ACCEPTED = frozenset({3})
# of CCTV's flags, those that it accepts a vector with; any other flag means refused
CCTV_ACCEPTED = frozenset({"low_order_component_A", "low_order_component_R"})


def _expect(accepted: bool, wanted: bool, name: str) -> None:
    assert accepted == wanted, f"{name}: {'accepted' if accepted else 'refused'}"


def ed25519(folder: Path) -> Iterator[Case]:
    base = folder / "ed25519"
    files(base, "*.json")
    measured = read(base / "measured.json") if (base / "measured.json").exists() else {}
    if (base / "speccheck-cases.json").exists():
        answers = {row["case"]: row["pynacl"] == "accept" for row in measured.get("speccheck", [])}
        for index, case in enumerate(read(base / "speccheck-cases.json")):
            wanted = answers.get(index, index in SPECCHECK_ACCEPTED)
            message = bytes.fromhex(case["message"])
            yield Case(f"speccheck {index}", partial(_check_raw, case["pub_key"], message, case["signature"], wanted))
    if (base / "cctv-ed25519vectors.json").exists():
        answers = {row["number"]: row["pynacl"] == "accept" for row in measured.get("cctv", [])}
        for case in read(base / "cctv-ed25519vectors.json"):
            wanted = answers.get(case["number"], set(case["flags"] or []) <= CCTV_ACCEPTED)
            yield Case(
                f"cctv {case['number']}", partial(_check_raw, case["key"], case["msg"].encode(), case["sig"], wanted)
            )
    if (base / "wycheproof-ed25519_test.json").exists():
        for group in read(base / "wycheproof-ed25519_test.json")["testGroups"]:
            for test in group["tests"]:
                wanted = test["result"] == "valid"
                yield Case(
                    f"wycheproof {test['tcId']}",
                    partial(_check_raw, group["publicKey"]["pk"], bytes.fromhex(test["msg"]), test["sig"], wanted)
                )


def _check_raw(public: str, message: bytes, signature: str, wanted: bool) -> None:
    _expect(verify_raw(bytes.fromhex(public), message, bytes.fromhex(signature)), wanted, "signature")


# RFC 9381, appendix B.3 (ECVRF-EDWARDS25519-SHA512-TAI): secret key, alpha, pi, beta
RFC_9381 = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d97"
        "27d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff"
        "66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
    ),
)


def ecvrf(folder: Path) -> Iterator[Case]:
    """The RFC's own, and any ecvrf*.json of the folder: {secret|sk, alpha, pi|proof, beta}."""
    for secret, alpha, proof, beta in RFC_9381:
        yield Case("RFC 9381 B.3", partial(_check_vrf, secret, alpha, proof, beta))
    for path in sorted(folder.glob("**/*vrf*.json")):
        plain = read(path)
        for number, row in enumerate(plain["cases"] if isinstance(plain, dict) else plain):
            fields = (row.get("secret") or row["sk"], row["alpha"], row.get("pi") or row["proof"], row["beta"])
            yield Case(f"{path.name} {number}", partial(_check_vrf, *fields))


def _check_vrf(secret: str, alpha: str, proof: str, beta: str) -> None:
    seed, about, pi = bytes.fromhex(secret), bytes.fromhex(alpha), bytes.fromhex(proof)
    assert vrf.prove(seed, about) == pi, "another proof"
    public = Key(seed).public
    assert vrf.verify(public, about, pi) == bytes.fromhex(beta), "another output"
    assert vrf.verify(public, about + b"x", pi) is None, "accepted for another input"


def rfc6962(folder: Path) -> Iterator[Case]:
    family = read(folder / "rfc6962.json")
    for case in family.get("published", []):
        published = [bytes.fromhex(leaf) for leaf in case["leaves"]]
        yield Case(f"published {case['name']}", partial(_check_root, published, case["root"]))
    for number, case in enumerate(family.get("generated", [])):
        yield Case(f"generated {number}", partial(_check_paths, case))
    leaves = [bytes.fromhex(leaf) for leaf in family.get("ct_leaves", [])]
    for count, top in enumerate(family.get("ct_roots_of_first_n", []), 1):
        yield Case(f"first {count} leaves", partial(_check_root, leaves[:count], top))


def _check_root(leaves: list[bytes], top: str) -> None:
    assert merkle.root(leaves).hex() == top
    for index, leaf in enumerate(leaves):
        assert merkle.verify(leaf, index, len(leaves), merkle.prove(leaves, index), bytes.fromhex(top)), (
            f"path of leaf {index}"
        )


def _check_paths(case: dict[str, Any]) -> None:
    """Their audit paths prove here, and nothing else does."""
    leaves, top = [bytes.fromhex(leaf) for leaf in case["leaves"]], bytes.fromhex(case["root"])
    assert merkle.root(leaves) == top
    for row in case["inclusion"]:
        index, path, size = row["index"], [bytes.fromhex(h) for h in row["aunts_leaf_to_root"]], len(leaves)
        assert merkle.prove(leaves, index) == path
        assert merkle.verify(leaves[index], index, size, path, top)
        wrong = (
            (leaves[index] + b"x", index, size, path, top), (leaves[index], index, size, [*path, top], top),
            (leaves[index], index, size, path, bytes(32)), (leaves[index], size, size, path, top),
        )
        assert not any(merkle.verify(*args) for args in wrong)
        assert not path or not merkle.verify(leaves[index], index, size, path[:-1], top)


def cbor(folder: Path) -> Iterator[Case]:
    base = folder / "cbor"
    files(base, "*.json")
    for name in ("malformed.json", "nondeterministic.json"):
        if (base / name).exists():
            for number, case in enumerate(read(base / name)["cases"]):
                yield Case(f"{name} {number}", partial(_check_refused, case["hex"]))
    if (base / "appendix_a.deterministic.json").exists():
        for case in read(base / "appendix_a.deterministic.json")["entries"]:
            yield Case(f"appendix A {case['index']}", partial(_check_appendix, case))


def _check_refused(text: str) -> None:
    try:
        decode(bytes.fromhex(text))
    except RemoteProtocolError:
        return
    raise AssertionError("accepted")


def _check_appendix(case: dict[str, Any]) -> None:
    """What is not deterministic is refused; what is and exists on our wire comes back as its own bytes."""
    raw = bytes.fromhex(case["hex"])
    try:
        value = decode(raw)
    except RemoteProtocolError:
        ours = case["deterministic_rfc8949_4_2_1"] and _is_ours(raw)
        assert not ours, "refused, though it exists on this wire"
        return
    assert case["deterministic_rfc8949_4_2_1"], "accepted, though it is not deterministic"
    assert encode(value) == raw


def _is_ours(raw: bytes) -> bool:
    """Integers of 64 bits, byte strings, text, booleans and null; what is in an array or map decides about those."""
    return (raw[0] >> 5 in (0, 2, 3) or raw[0] in (0xF4, 0xF5, 0xF6, 0x80)) and len(raw) < 40
