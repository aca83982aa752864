"""Ends connections on purpose.

Law: the peer hears why before its connection ends.

DISC-5: a connection that is ended on purpose ends with a Goodbye, and both sides keep the reason for `status`. When it
makes room for another one ("full") only the other side keeps the reason, and this side counts it. A peer that never
greeted may not know Goodbye.
"""

from __future__ import annotations

import logging

import trio
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.limits import DISCONNECT_TIMEOUT_S, FULL_S, MAX_FAREWELLS
from p2p.gossip.connections.guards import drop_connection
from p2p.gossip.connections.partings import Why
from p2p.gossip.connections.topics import PEERS_PROTOCOL
from p2p.gossip.discovery.discovery import DELIVERY_S, Discovery
from p2p.gossip.discovery.handshake import pack_goodbye
from p2p.machine.deadlines import move_on_after

log = logging.getLogger(__name__)


class Farewells:
    """Ends connections of one host, each once."""

    def __init__(self, discovery: Discovery) -> None:
        self._net = discovery
        self._parting: set[str] = set()  # peers that are being told

    async def dismiss(self, peer: str, code: str, why: str, seconds: float) -> None:
        """Say why, end the connection, and do not dial again for `seconds`. code: as in Goodbye."""
        if peer in self._parting:
            return
        self._parting.add(peer)
        try:
            kind = {"banned": Why.BANNED, "overload": Why.OVERLOAD}.get(code, Why.REFUSED)
            self._net.door.partings.say(peer, kind, why)
            await self._say_goodbye(peer, code, why, seconds)
            error = RemoteProtocolError(why, field="peer", code=code, penalty=0)
            await self._net.leave_alone(peer, error, seconds=seconds)
        finally:
            self._parting.discard(peer)

    async def give_place_away(self, peer: str) -> None:
        """End a connection that makes room for another one. No reason is kept here: strangers that come and go would
        drive out all the others."""
        if peer in self._parting:
            return
        self._parting.add(peer)
        try:
            if len(self._parting) <= MAX_FAREWELLS:
                why = "every place is taken, and other connections have priority"
                await self._say_goodbye(peer, "full", why, FULL_S)
            self._net.verified.discard(peer)
            self._net.door.partings.say(peer, Why.FULL)
            await drop_connection(self._net.host, ID.from_string(peer))
        finally:
            self._parting.discard(peer)
            self._net.door.leaving.discard(peer)

    async def _say_goodbye(self, peer: str, code: str, why: str, seconds: float) -> None:
        with move_on_after(DISCONNECT_TIMEOUT_S):
            try:
                stream = await self._net.open_raw(peer, PEERS_PROTOCOL, DISCONNECT_TIMEOUT_S)
                await stream.send(pack_goodbye(code, why, seconds))
                await stream.close()
                await trio.sleep(DELIVERY_S)
            except FolkmootError as error:
                log.debug("no goodbye to %s: %s", peer, error)
