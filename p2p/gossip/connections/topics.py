"""Makes the names of topics and stream protocols.

Law: every such name is made here and nowhere else.
"""

from __future__ import annotations

import re

from p2p.base.errors import LocalProtocolError
from p2p.base.keys import NetworkId

_SHORT = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._@-]{0,95}\Z")


def topic_name(network: NetworkId, short: str) -> str:
    """`/folkmoot/<network>/<short>/1`: the network id is part of a topic, so networks never hear each other.

    Raises LocalProtocolError for a name that the pattern does not allow.
    """
    if not _NETWORK.match(network):
        raise LocalProtocolError(f"{network!r} is not a network id", field="network")
    if not _SHORT.match(short):
        raise LocalProtocolError(f"{short!r} is not a topic's short name", field="topic")
    return f"/folkmoot/{network}/{short}/1"


def protocol_name(short: str) -> str:
    """`/folkmoot/<short>/1`: a stream protocol; what is signed in its frames names the network.

    Raises LocalProtocolError for a name that the pattern does not allow.
    """
    if not _SHORT.match(short):
        raise LocalProtocolError(f"{short!r} is not a protocol's short name", field="protocol")
    return f"/folkmoot/{short}/1"


PEERS_PROTOCOL = protocol_name("peers")
