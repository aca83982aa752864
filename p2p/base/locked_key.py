"""A key file locked by a passphrase.

Law: without the passphrase the file says its public key and nothing else. The passphrase costs time and memory to try
(Argon2id), the seed is under an AEAD (XChaCha20-Poly1305) that also covers everything else in the file; both are
libsodium's.
"""

from __future__ import annotations

import json
import os
from typing import Annotated

import msgspec
from msgspec import Meta
from nacl import exceptions, pwhash
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)

from p2p.base.errors import ConfigError

FORMAT = 1
MAX_LOCKED_FILE = 4096
MIN_PASSPHRASE, MAX_PASSPHRASE = 8, 1024  # bytes
# what a file may ask of this machine: a hostile file must not take all memory
MOST_OPS, MOST_MEMORY = 16, 1 << 30
OPS, MEMORY = pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE

_Hex = Annotated[str, Meta(pattern="^[0-9a-f]+$", max_length=256)]


class LockedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    folkmoot_key: int  # FORMAT
    public: _Hex
    kdf: str  # 'argon2id'
    ops: Annotated[int, Meta(ge=1, le=MOST_OPS)]
    memory: Annotated[int, Meta(ge=8192, le=MOST_MEMORY)]  # bytes
    salt: _Hex
    nonce: _Hex
    box: _Hex

    def head(self) -> bytes:
        """What the AEAD covers besides the seed."""
        return json.dumps([self.folkmoot_key, self.public, self.kdf, self.ops, self.memory, self.salt]).encode()


def check_passphrase(passphrase: bytes) -> None:
    """Raises ConfigError for one that is too short or too long."""
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise ConfigError(
            f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes; five random words are good",
            field="passphrase",
        )


def lock(seed: bytes, public: bytes, passphrase: bytes, *, ops: int = OPS, memory: int = MEMORY) -> bytes:
    """The content of a locked file. Raises ConfigError."""
    check_passphrase(passphrase)
    salt = os.urandom(pwhash.argon2id.SALTBYTES)
    nonce = os.urandom(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
    found = LockedKey(FORMAT, public.hex(), "argon2id", ops, memory, salt.hex(), nonce.hex(), "")
    box = crypto_aead_xchacha20poly1305_ietf_encrypt(seed, found.head(), nonce, _key(found, passphrase))
    return msgspec.json.encode(msgspec.structs.replace(found, box=box.hex())) + b"\n"


def _key(found: LockedKey, passphrase: bytes) -> bytes:
    size = crypto_aead_xchacha20poly1305_ietf_KEYBYTES
    return pwhash.argon2id.kdf(size, passphrase, bytes.fromhex(found.salt), found.ops, found.memory)


def is_locked(raw: bytes) -> bool:
    """Whether a key file's content is a locked key."""
    return raw.lstrip()[:1] == b"{"


def parse(raw: bytes, name: str) -> LockedKey:
    """name: the file's, for the error. Raises ConfigError."""
    try:
        found = msgspec.json.decode(raw, type=LockedKey)
        good = found.kdf == "argon2id" and len(found.public) == 64 and len(found.salt) == 32 and len(found.nonce) == 48
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{name} is a damaged key file: {error}; restore it from a copy", field="key") from error
    if found.folkmoot_key != FORMAT or not good:
        raise ConfigError(
            f"{name} is a locked key of another format ({found.folkmoot_key}, {found.kdf[:20]}); use the program that"
            " made it", field="key",
        )
    return found


def unlock(found: LockedKey, passphrase: bytes, name: str) -> bytes:
    """The seed. Raises ConfigError for a wrong passphrase, or a file that was changed."""
    try:
        box, nonce = bytes.fromhex(found.box), bytes.fromhex(found.nonce)
        return crypto_aead_xchacha20poly1305_ietf_decrypt(box, found.head(), nonce, _key(found, passphrase))
    except (exceptions.CryptoError, ValueError) as error:
        raise ConfigError(
            f"the passphrase does not open {name}: it is another one, or the file was changed", field="passphrase",
        ) from error
    except MemoryError as error:
        raise ConfigError(f"{name} needs {found.memory >> 20} MB of memory to be opened", field="key") from error
