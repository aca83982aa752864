"""Under which keys a peer keeps payloads and what belongs to its checks. Law: a payload's key is its inference's id."""

from __future__ import annotations

_VERDICT = b"verdict/"


def verdict_key(inference_id: bytes, height: int) -> bytes:
    """The key of a validator's own verdict, of the committee drawn at `height`. It is longer than the 32 bytes of a
    payload's key."""
    return _VERDICT + inference_id + height.to_bytes(8, "big")


def inference_of(key: bytes) -> bytes | None:
    """Which inference a payload's or verdict's key is about; None: it is something else's."""
    if key.startswith(_VERDICT) and len(key) == len(_VERDICT) + 40:
        return key[len(_VERDICT) : -8]
    return key if len(key) == 32 else None
