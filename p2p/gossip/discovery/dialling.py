"""Dials one peer: directly where that works, else through a relay.

Law: whoever answers has proved the key of the peer that was meant, whichever way led there.

- DIAL-1: direct addresses come first. Of the relays the first MAX_CIRCUIT_TRIES are tried after them, those before the
  others that are connected already.
- DIAL-2: a relay is dialled like any peer, at the address that was named with it (REACH-2), and greeted. Its connection
  stays as long as others lead through it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.limits import CIRCUIT_SETUP_S, DIAL_TIMEOUT_S, MAX_CIRCUIT_TRIES
from p2p.gossip.connections.failures import explain
from p2p.gossip.connections.reach import relay_in, resolve
from p2p.gossip.relays.circuit import connect_through
from p2p.gossip.relays.messages import HOP
from p2p.machine.deadlines import fail_after

if TYPE_CHECKING:
    from p2p.gossip.discovery.discovery import Discovery


class Dialler:
    """The dials of one host."""

    def __init__(self, net: Discovery) -> None:
        self._net = net
        self.through: Counter[str] = Counter()  # relays that a dial leads through at this moment

    async def connect(self, peer: str, addresses: tuple[str, ...]) -> None:
        """DIAL-1. Raises FolkmootError with the reason of the last way that was tried."""
        ways = {address: found for address in addresses if (found := relay_in(address))}
        direct = tuple(address for address in addresses if address not in ways)
        failed: FolkmootError = Unavailable("no address is known", field="peer", code="unknown_peer")
        if direct:
            try:
                await self._directly(peer, direct)
            except FolkmootError as error:
                failed = error
            else:
                return
        linked = self._net.linked()
        for address in sorted(list(ways)[:MAX_CIRCUIT_TRIES], key=lambda address: ways[address][0] not in linked):
            try:
                await self._through(peer, address, *ways[address])
            except FolkmootError as error:
                failed = error
            else:
                return
        raise failed

    async def _directly(self, peer: str, addresses: tuple[str, ...]) -> None:
        net, target = self._net, ID.from_string(peer)
        net.host.get_network().unblock_peer(target)  # the library refuses a dial for a minute after a failed one
        try:
            wanted: list[str] = []
            failed = Unavailable("no address is known", field="peer", code="unknown_peer")
            for address in addresses:
                try:
                    wanted += await resolve(address)
                except Unavailable as error:
                    failed = error
            if not wanted:
                raise failed
            store = net.host.get_peerstore()
            if target in store.peer_data_map:
                store.clear_addrs(target)  # only `wanted` is dialled, not what others told the library
            with net.policy.meaning(wanted), fail_after(DIAL_TIMEOUT_S):
                await net.host.connect(PeerInfo(target, [Multiaddr(a) for a in wanted]))
        except Exception as error:  # the library's dial raises many types; explain makes a sentence of each
            raise explain(error, peer, addresses) from error

    async def _through(self, peer: str, address: str, relay: str, at: str) -> None:
        net = self._net
        if relay == net.me:
            raise Unavailable("that address leads through this peer, to which it is not connected", field="peer")
        self.through[relay] += 1
        try:
            if relay not in net.linked():
                await net.dial(relay, (at,))
            stream = await net.open_raw(relay, HOP)
            try:
                with fail_after(DIAL_TIMEOUT_S + CIRCUIT_SETUP_S):
                    await connect_through(net.host.get_network(), stream, peer)
            except Exception as error:  # as above
                await stream.reset()
                raise explain(error, peer, (address,)) from error
            net.carriers.add(relay)
        finally:
            self.through[relay] -= 1
            self.through += Counter()
