"""ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381) on libsodium's group operations. Law: one key and one input give one output.

prove: 80 bytes, pi = Gamma || c || s. verify: the 64-byte output, or None when the proof is not the key's.
"""

from __future__ import annotations

import hashlib

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

PROOF_BYTES = 80
_SUITE = b"\x03"
_ORDER = 2**252 + 27742317777372353535851937790883648493
_FIELD = 2**255 - 19
_ERRORS = (CryptoError, RuntimeError, ValueError, TypeError)


def prove(seed: bytes, alpha: bytes) -> bytes:
    """The proof for `alpha` under the Ed25519 seed."""
    public, _ = sodium.crypto_sign_seed_keypair(seed)
    hashed = hashlib.sha512(seed).digest()
    x = bytes([hashed[0] & 248]) + hashed[1:31] + bytes([hashed[31] & 127 | 64])
    point = _encode_to_curve(public, alpha)
    gamma = sodium.crypto_scalarmult_ed25519_noclamp(x, point)
    k = (int.from_bytes(hashlib.sha512(hashed[32:] + point).digest(), "little") % _ORDER).to_bytes(32, "little")
    u = sodium.crypto_scalarmult_ed25519_base_noclamp(k)
    v = sodium.crypto_scalarmult_ed25519_noclamp(k, point)
    c = _challenge(public, point, gamma, u, v)
    s = (int.from_bytes(k, "little") + int.from_bytes(c, "little") * int.from_bytes(x, "little")) % _ORDER
    return gamma + c + s.to_bytes(32, "little")


def verify(public: bytes, alpha: bytes, proof: bytes) -> bytes | None:
    """beta (64 bytes) when `proof` is `public`'s for `alpha`."""
    if len(proof) != PROOF_BYTES or len(public) != 32:
        return None
    gamma, c, s = proof[:32], proof[32:48] + bytes(16), proof[48:]
    if int.from_bytes(s, "little") >= _ORDER:
        return None
    try:
        if not sodium.crypto_core_ed25519_is_valid_point(public) or not sodium.crypto_core_ed25519_is_valid_point(gamma):
            return None
        point = _encode_to_curve(public, alpha)
        u = sodium.crypto_core_ed25519_sub(
            sodium.crypto_scalarmult_ed25519_base_noclamp(s), sodium.crypto_scalarmult_ed25519_noclamp(c, public)
        )
        v = sodium.crypto_core_ed25519_sub(
            sodium.crypto_scalarmult_ed25519_noclamp(s, point), sodium.crypto_scalarmult_ed25519_noclamp(c, gamma)
        )
    except _ERRORS:
        return None
    if _challenge(public, point, gamma, u, v) != c[:16]:
        return None
    return proof_to_hash(proof)


def proof_to_hash(proof: bytes) -> bytes:
    """beta of a proof that was verified."""
    return hashlib.sha512(_SUITE + b"\x03" + _times_eight(proof[:32]) + b"\x00").digest()


def _challenge(*points: bytes) -> bytes:
    return hashlib.sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:16]


def _encode_to_curve(salt: bytes, alpha: bytes) -> bytes:
    for counter in range(256):
        candidate = hashlib.sha512(_SUITE + b"\x01" + salt + alpha + bytes([counter]) + b"\x00").digest()[:32]
        if int.from_bytes(candidate, "little") & ((1 << 255) - 1) >= _FIELD:
            continue  # not a canonical encoding
        try:
            return _times_eight(candidate)
        except _ERRORS:
            continue  # not on the curve
    raise ValueError("no point found in 256 tries")  # chance 2^-256


def _times_eight(point: bytes) -> bytes:
    for _ in range(3):
        point = sodium.crypto_core_ed25519_add(point, point)
    return point
