"""Who may use the gateway. Law: a key is compared in constant time, and neither kept nor logged in the clear.

Without keys only this machine is served, and only under names of its own: else a web page could be made to ask under a
name that it controls, and spend the user's money.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_API_KEY, MAX_API_KEYS
from p2p.gateway.core.refusals import Forbidden, Unauthorized

_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Keys:
    """The keys that are accepted; none: no key is needed."""

    def __init__(self, keys: Iterable[str] = (), own_names: Iterable[str] = ()) -> None:
        """own_names: more names of this machine that a request may use where no key is needed."""
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)
        self._own_names = _OWN_NAMES | {name.lower() for name in own_names}

    @property
    def are_needed(self) -> bool:
        return bool(self._digests)

    def check(self, headers: Mapping[str, str]) -> None:
        """headers: by lower-case name. Raises Unauthorized and Forbidden."""
        if not self._digests:
            self._check_host(headers.get("host", ""))
            return
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if not given:
            raise Unauthorized("a key is needed: send `Authorization: Bearer KEY` or x-api-key", code="missing_api_key")
        digest = hashlib.sha256(given.encode()).digest()
        if not sum(hmac.compare_digest(digest, one) for one in self._digests):  # all are looked at
            raise Unauthorized("the key is not one of the gateway's; see --api-key-file")

    def _check_host(self, host: str) -> None:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") and host.count(":") != 2 else host
        if host and name.lower() not in self._own_names:
            raise Forbidden(
                f"the name {host[:100]!r} is not one of this machine; ask 127.0.0.1, or start the gateway with keys",
                field="host",
            )


def load_keys(file: Path, own_names: Iterable[str] = ()) -> Keys:
    """The keys in a file, one a line; lines that begin with # are comments. Raises ConfigError."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", field="api_key_file") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(keys) <= MAX_API_KEYS:
        raise ConfigError(f"{file} has {len(keys)} keys; give 1 to {MAX_API_KEYS}, one a line", field="api_key_file")
    if any(not 8 <= len(key) <= MAX_API_KEY or not key.isascii() or " " in key for key in keys):
        raise ConfigError(f"a key in {file} is not 8 to {MAX_API_KEY} ASCII characters without blanks",
                          field="api_key_file")
    return Keys(keys, own_names)
