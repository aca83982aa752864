"""A verifiable random function: ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, on libsodium's group operations.

Law: one key and one input have exactly one output. Names follow the RFC: alpha is the input, pi = Gamma || c || s the
proof (80 bytes), beta the output (64 bytes).
"""

from __future__ import annotations

import hashlib

import nacl.bindings as sodium
from nacl.exceptions import CryptoError

PROOF_BYTES = 80
_SUITE = b"\x03"  # suite_string of section 5.5
_ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group's prime-order subgroup
_FIELD = 2**255 - 19
_ERRORS = (CryptoError, RuntimeError, ValueError, TypeError)


def prove(seed: bytes, alpha: bytes) -> bytes:
    """The proof pi (80 bytes) for `alpha` under an Ed25519 seed (32 bytes). RFC 9381, section 5.1."""
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
    """The output beta (64 bytes), or None where `proof` is not the proof of `public` for `alpha`. Section 5.3."""
    if len(proof) != PROOF_BYTES or len(public) != 32:
        return None
    gamma, c, s = proof[:32], proof[32:48] + bytes(16), proof[48:]
    if int.from_bytes(s, "little") >= _ORDER:
        return None
    try:
        if not all(map(sodium.crypto_core_ed25519_is_valid_point, (public, gamma))):
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
    """The output beta (64 bytes) of a proof that was verified. Section 5.2."""
    return hashlib.sha512(_SUITE + b"\x03" + _times_eight(proof[:32]) + b"\x00").digest()


def _challenge(*points: bytes) -> bytes:
    return hashlib.sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:16]


def _encode_to_curve(salt: bytes, alpha: bytes) -> bytes:
    """Try-and-increment (section 5.4.1.1): hash with a counter until the hash is a point."""
    for counter in range(256):
        candidate = hashlib.sha512(_SUITE + b"\x01" + salt + alpha + bytes([counter]) + b"\x00").digest()[:32]
        if int.from_bytes(candidate, "little") & ((1 << 255) - 1) >= _FIELD:
            continue  # not a canonical encoding
        try:
            return _times_eight(candidate)
        except _ERRORS:
            continue  # not on the curve
    raise ValueError("no point found in 256 tries")  # each try fails with a chance of about 1/2


def _times_eight(point: bytes) -> bytes:
    for _ in range(3):
        point = sodium.crypto_core_ed25519_add(point, point)
    return point
