"""Looks at one address as a newcomer would, a step at a time: what `folkmoot ping` shows.

Law: each step is one thing that can fail alone; every wait is bounded; nothing is kept.
"""

from __future__ import annotations

from contextlib import suppress

import trio
from libp2p.peer.id import ID

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.limits import DIAL_TIMEOUT_S
from p2p.gossip.connections.failures import explain
from p2p.gossip.connections.reach import family_and_port, relay_in, resolve
from p2p.gossip.connections.topics import protocol_name
from p2p.gossip.host import Network, split_address
from p2p.gossip.relays import dial_back
from p2p.machine.deadlines import move_on_after

__all__ = ["SHORTS", "answers_on", "ask_back", "first_hop", "open_socket", "resolve", "split_address"]
# the stream protocols of a peer; a bootstrap seed has the first two
SHORTS = ("peers", "dialback", "query", "sync", "votes", "body", "payload", "infer")
_IDENTIFY_S = 5.0  # for the peer to list its protocols
_LOOK_S = 0.02


def first_hop(address: str) -> str:
    """The address at which a TCP connection is made: a circuit's is its relay's."""
    through = relay_in(address)
    return through[1] if through else address


async def open_socket(address: str) -> None:
    """Make a TCP connection to a resolved address, and end it. Raises Unavailable with the reason."""
    parts = address.split("/")
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            stream = await trio.open_tcp_stream(parts[2], family_and_port(address)[1])
    except (OSError, trio.TooSlowError) as error:
        raise explain(error, "the peer", (address,)) from error
    await trio.aclose_forcefully(stream)


async def answers_on(network: Network, peer: str) -> tuple[str, ...]:
    """Which of SHORTS a connected peer names when it identifies itself; () where it does not in time."""
    store, target = network.discovery.host.get_peerstore(), ID.from_string(peer)
    with move_on_after(_IDENTIFY_S):
        while True:
            named: list[str] = []
            with suppress(Exception):  # the library's own type, for a peer that has not identified itself yet
                named = list(store.get_protocols(target))
            found = tuple(short for short in SHORTS if protocol_name(short) in named)
            if found or "/ipfs/id/1.0.0" in named:
                return found
            await trio.sleep(_LOOK_S)
    return ()


async def ask_back(network: Network, peer: str) -> tuple[str, str, int]:
    """(code, address, milliseconds that its clock is ahead) of a connected peer that was asked to dial this machine at
    the port where `network` listens. Raises FolkmootError."""
    ports = network.discovery.ports()
    if not ports:
        raise Unavailable("this side listens nowhere", field="listen")
    stream = await network.discovery.open_raw(peer, protocol_name(dial_back.PROTOCOL))
    try:
        found = await dial_back.ask(stream, ports.get(False) or next(iter(ports.values())))
    except FolkmootError:
        await stream.reset()
        raise
    await stream.close()
    return found.code, found.address, found.clock_ms
