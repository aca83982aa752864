"""The key layout of the database `payloads`. Law: every key of it is made here, and no two kinds share one.

A payload's key is its inference's id: 32 bytes, which no other key has. The bytes are part of the store's schema.
"""

from __future__ import annotations

from p2p.base.keys import digest
from p2p.store.keys import HEIGHT_BYTES, height_key

ID_BYTES = 32
PLANTED = b"plants"  # the planted faults that this peer has to reveal
_VERDICT = b"verdict/"
_UNKNOWN = b"unknown/"


def verdict(inference_id: bytes, height: int) -> bytes:
    """-> this validator's own Verdict, of the committee drawn at `height`."""
    return _VERDICT + inference_id + height_key(height)


def sprint(model: str) -> bytes:
    """-> what this peer committed to in the last sprint in which it served `model`."""
    return b"sprint/" + digest(model.encode())


def unknown_since(key: bytes) -> bytes:
    """-> the height at which a sweep found first that the chain does not know the inference of `key`."""
    return _UNKNOWN + key


def inference_of(key: bytes) -> bytes | None:
    """Which inference a payload's or verdict's key is about; None: it is a key of another kind."""
    if key.startswith(_VERDICT) and len(key) == len(_VERDICT) + ID_BYTES + HEIGHT_BYTES:
        return key[len(_VERDICT) : -HEIGHT_BYTES]
    return key if len(key) == ID_BYTES else None
