"""Key layout of the store. Law: a change here changes SCHEMA, and an older store is refused with a sentence."""

from __future__ import annotations

SCHEMA = 6
DATABASES = ("meta", "state", "blocks", "guard", "payloads", "snapshots", "tree", "archive")
_VERDICT = b"verdict/"


def height_key(height: int) -> bytes:
    """Big-endian, so that keys sort by height."""
    return height.to_bytes(8, "big")


def verdict_key(inference_id: bytes, height: int) -> bytes:
    """Where a validator's own verdict of the committee drawn at `height` lies, beside payloads: those have keys of 32 bytes."""
    return _VERDICT + inference_id + height_key(height)


def inference_of(key: bytes) -> bytes | None:
    """Which inference a payload's or verdict's key is about; None: it is something else's."""
    if key.startswith(_VERDICT) and len(key) == len(_VERDICT) + 40:
        return key[len(_VERDICT) : -8]
    return key if len(key) == 32 else None
