"""Key layout of the store. Law: a change here changes SCHEMA, and an older store is refused with a sentence."""

from __future__ import annotations

SCHEMA = 10
DATABASES = ("meta", "state", "blocks", "guard", "payloads", "snapshots", "tree", "archive")


def height_key(height: int) -> bytes:
    """Big-endian, so that keys sort by height."""
    return height.to_bytes(8, "big")
