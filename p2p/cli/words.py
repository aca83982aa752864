"""Words of the command line as values. Law: a wrong one is named by its option."""

from __future__ import annotations

from p2p.errors import ConfigError


def public_key(text: str, field: str) -> bytes:
    """64 hexadecimal digits. Raises ConfigError naming the option."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigError("64 hexadecimal digits are wanted", field=field)
    return raw
