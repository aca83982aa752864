"""Ed25519 keys, signatures with a domain for each kind of message, peer ids, and the hash function.

Law: nothing is signed without its domain and its network. PyNaCl (libsodium) is the only verifier: libraries disagree
on small-order points, and all peers must agree on every signature (decision 002).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NewType

import base58
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from p2p.base import locked_key
from p2p.base.errors import ConfigError
from p2p.base.files import failure, open_output, read_secret
from p2p.base.locked_key import MAX_LOCKED_FILE
from p2p.base.passphrase import passphrase

# Every signature names a network id: the name and the hash of the genesis file (Genesis.network, decision 036). So no
# signature is valid on a network with another beginning, not even on one of the same name.
NetworkId = NewType("NetworkId", str)

PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64
_PEER_ID_PREFIX = bytes.fromhex("002408011220")  # identity multihash of a protobuf Ed25519 public key


class Domain(StrEnum):
    """What a signature is about; part of the signed bytes, so no signature serves two purposes."""

    REQUEST = "request"
    RECEIPT = "receipt"
    BUSY = "busy"
    TX = "tx"
    PROPOSAL = "proposal"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"
    ADVERT = "advert"
    START = "start"
    FINISH = "finish"
    STREAMED = "streamed"
    OUTPUT = "output"
    VERDICT = "verdict"
    OP = "op"  # an account transaction
    NODE = "node"  # a node key's consent to be registered, or to replace another


class Key:
    """A signing key from a 32-byte seed."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConfigError("an Ed25519 seed has 32 bytes", field="seed")
        self.seed = seed
        self._key = SigningKey(seed)
        self.public = bytes(self._key.verify_key)

    @classmethod
    def generate(cls) -> Key:
        """A new key from the system's random numbers."""
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, path: Path) -> Key:
        """The key in a file that its owner alone can read: 64 hexadecimal digits, or locked by a passphrase
        (passphrase.py says where that comes from). Raises ConfigError with the path."""
        raw = read_secret(path, MAX_LOCKED_FILE, field="key")
        if locked_key.is_locked(raw):
            found = locked_key.parse(raw, str(path))
            key = cls(locked_key.unlock(found, passphrase(str(path)), str(path)))
            if key.public.hex() != found.public:
                raise ConfigError(f"{path} holds another key than it says; restore it from a copy", field="key")
            return key
        return cls(_plain_seed(raw, path))

    @classmethod
    def public_in(cls, path: Path) -> bytes:
        """The public key of a file, without its passphrase. Raises ConfigError."""
        raw = read_secret(path, MAX_LOCKED_FILE, field="key")
        if locked_key.is_locked(raw):
            return bytes.fromhex(locked_key.parse(raw, str(path)).public)
        return cls(_plain_seed(raw, path)).public

    def locked(self, passphrase: bytes) -> bytes:
        """The content of a key file that this passphrase opens. Raises ConfigError."""
        return locked_key.lock(self.seed, self.public, passphrase)

    def plain(self) -> bytes:
        """The content of a key file without a passphrase."""
        return self.seed.hex().encode() + b"\n"

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write the key to a new file that its owner alone can read, locked where there is a passphrase; an existing
        file is never overwritten. Raises ConfigError, StorageError."""
        content = self.plain() if passphrase is None else self.locked(passphrase)
        try:
            with os.fdopen(open_output(path, os.O_EXCL), "wb") as file:
                file.write(content)
        except (OSError, ValueError) as error:
            raise failure(error, "write", path, "key") from error

    @property
    def peer_id(self) -> str:
        return peer_id(self.public)

    def sign(self, domain: Domain, network: NetworkId, body: bytes) -> bytes:
        """The signature (64 bytes) over (domain, network, body)."""
        return bytes(self._key.sign(signing_bytes(domain, network, body)).signature)


def _plain_seed(raw: bytes, path: Path) -> bytes:
    try:
        seed = bytes.fromhex(raw.decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise ConfigError(
            f"{path} is not a key of 64 hexadecimal digits; restore it from a copy, or make a new one", field="key",
        )
    return seed


def signing_bytes(domain: Domain, network: NetworkId, body: bytes) -> bytes:
    """The exact bytes under a signature: tag, length-prefixed network id, body."""
    name = network.encode()
    return b"folkmoot/" + domain.value.encode() + b"/1\x00" + len(name).to_bytes(2, "big") + name + body


def verify(public: bytes, domain: Domain, network: NetworkId, body: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one of `public` over (domain, network, body)."""
    return verify_raw(public, signing_bytes(domain, network, body), signature)


def verify_raw(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether libsodium accepts this signature (decision 002); False for wrong lengths too."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def peer_id(public: bytes) -> str:
    """libp2p peer id of an Ed25519 public key (libp2p peer-ids specification)."""
    return str(base58.b58encode(_PEER_ID_PREFIX + public).decode())


def public_key_of(peer: str) -> bytes:
    """The Ed25519 public key inside a peer id. Raises ConfigError for any other kind of id."""
    try:
        raw = bytes(base58.b58decode(peer))
    except ValueError as error:
        raise ConfigError("a peer id is written in base58", field="peer_id") from error
    if len(raw) != len(_PEER_ID_PREFIX) + PUBLIC_KEY_BYTES or not raw.startswith(_PEER_ID_PREFIX):
        raise ConfigError("not the peer id of an Ed25519 key", field="peer_id")
    return raw[len(_PEER_ID_PREFIX) :]


def digest(*parts: bytes) -> bytes:
    """SHA-256 (32 bytes) over length-prefixed parts: two different lists never have the same input."""
    return _begun(parts).digest()


def digests(*parts: bytes) -> Callable[[bytes], bytes]:
    """digest(*parts, last) as a function of `last`; the common parts are hashed once."""
    begun = _begun(parts)

    def finish(last: bytes) -> bytes:
        mine = begun.copy()
        mine.update(len(last).to_bytes(8, "big") + last)
        return mine.digest()

    return finish


def _begun(parts: tuple[bytes, ...]) -> hashlib._Hash:
    return hashlib.sha256(b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)]))
