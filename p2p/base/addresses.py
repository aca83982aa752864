"""Checks a multiaddr that a user typed.

Law: only the form is checked here; the network finds out whether anybody answers.
"""

from __future__ import annotations

from p2p.base.errors import ConfigError

EXAMPLE = "/ip4/192.0.2.1/tcp/7470"


def check_multiaddr(text: str, field: str, *, with_peer: bool = False) -> str:
    """Returns `text`. with_peer: it must end in /p2p/ID, so that nobody else can answer there.

    Raises ConfigError that names `field` and gives an example.
    """
    if not text.startswith("/") or (with_peer and "/p2p/" not in text):
        example = f"{EXAMPLE}/p2p/ID" if with_peer else EXAMPLE
        raise ConfigError(f"{text[:200]!r} is not a multiaddr such as {example}", field=field)
    return text
