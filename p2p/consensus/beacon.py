"""The randomness beacon: 32 bytes per block that nobody can choose.

Law: beacon_h = H(beacon_{h-1} || VRF output of the proposer over (beacon_{h-1}, h, round)), VRF by RFC 9381
(base/vrf.py). A proposer cannot choose its output. It can forfeit its turn, which is one bit of bias and costs its
reward.
"""

from __future__ import annotations

from p2p.base import vrf
from p2p.base.keys import Key, digest


def alpha(previous: bytes, height: int, round_: int) -> bytes:
    """The VRF's input."""
    return digest(b"beacon", previous, height.to_bytes(8, "big"), round_.to_bytes(8, "big"))


def make_beacon(key: Key, previous: bytes, height: int, round_: int) -> tuple[bytes, bytes]:
    """(beacon, VRF proof) of a block whose parent has the beacon `previous`."""
    proof = vrf.prove(key.seed, alpha(previous, height, round_))
    return digest(previous, vrf.proof_to_hash(proof)), proof


def check_beacon(public: bytes, previous: bytes, height: int, round_: int, beacon: bytes, proof: bytes) -> bool:
    """Whether `beacon` is what the proposer `public` had to make. proof: any bytes."""
    output = vrf.verify(public, alpha(previous, height, round_), proof)
    return output is not None and digest(previous, output) == beacon
