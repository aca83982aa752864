"""Bounds what py-libp2p remembers about peers: its DHT and its peerstore (repairs G-13 and G-16 of guards.py).

Law: strangers can fill none of them, and our own entry is never dropped.
"""

from __future__ import annotations

from typing import Any, Final

from libp2p.exceptions import ParseError
from libp2p.kad_dht import kad_dht, peer_routing, provider_store, value_store
from libp2p.kad_dht.pb import kademlia_pb2
from libp2p.peer.peerstore import PeerStore

from p2p.base.limits import (
    FRAME_TIMEOUT_S,
    MAX_ADDRESSES_PER_PEER,
    MAX_DHT_MESSAGE,
    MAX_DHT_PEERS,
    MAX_PEER_RECORD,
)
from p2p.gossip.connections.door import MARK
from p2p.machine.deadlines import fail_after

_SERVED: Final = (kademlia_pb2.Message.FIND_NODE, kademlia_pb2.Message.PING)


def bound_tables() -> None:
    """Patch the library's classes; once per process."""
    _serve_finding_only()
    _pin_our_own()


def _serve_finding_only() -> None:
    """G-13: the DHT only finds peers and answers pings; other messages, large ones, and silence end the stream.

    Stock, it kept for 48 hours what anybody put into it (providers, values), which nothing here reads. And an answer
    could name as many peers as fit into 64 KiB, all of which were remembered: half a second of CPU.
    """
    stock_read = kad_dht.read_varint_prefixed_bytes_limited

    async def read(stream: Any, limit: int) -> bytes:
        with fail_after(FRAME_TIMEOUT_S):
            raw: bytes = await stock_read(stream, min(limit, MAX_DHT_MESSAGE))
        return bounded_message(raw)

    for module in (kad_dht, peer_routing):
        module.read_varint_prefixed_bytes_limited = read
    for module in (peer_routing, provider_store, value_store):
        module.MAX_DHT_MESSAGE_SIZE = MAX_DHT_MESSAGE


def bounded_message(raw: bytes) -> bytes:
    """`raw`, a DHT message, without addresses and records beyond what an honest one has.

    Raises ParseError for too many peers or another type than FIND_NODE and PING, DecodeError for garbage.
    """
    message = kademlia_pb2.Message()
    message.ParseFromString(raw)
    if message.type not in _SERVED:
        raise ParseError("this DHT serves FIND_NODE and PING only")
    if len(message.closerPeers) > MAX_DHT_PEERS:
        raise ParseError(f"more than {MAX_DHT_PEERS} peers in one answer")
    if len(message.senderRecord) > MAX_PEER_RECORD:
        message.ClearField("senderRecord")
    for peer in message.closerPeers:
        del peer.addrs[MAX_ADDRESSES_PER_PEER:]
        if len(peer.signedRecord) > MAX_PEER_RECORD:
            peer.ClearField("signedRecord")
    bounded: bytes = message.SerializeToString()
    return bounded


def _pin_our_own() -> None:
    """G-16: our own entry in the peerstore stays, a peer has a bounded number of addresses, and dropping is cheap.

    Stock, peers without an address are dropped first, and our own entry, with our keys, has none: after a thousand
    invented peers every identify and every signed record of ours failed. Each further one sorted the whole store.
    """
    stock_add = PeerStore.add_addrs

    def add(self: Any, peer_id: Any, addrs: Any, ttl: int = 0) -> None:
        stock_add(self, peer_id, list(addrs)[: 2 * MAX_ADDRESSES_PER_PEER], ttl)
        data = self.peer_data_map.get(peer_id)
        if data is not None:
            del data.addrs[: -2 * MAX_ADDRESSES_PER_PEER]

    def evict(self: Any) -> None:
        """Drop the oldest, a quarter at a time. Connected peers stay (MARK: the table of connections)."""
        if len(self.peer_data_map) <= self.max_peers:
            return
        connected = self.__dict__.get(MARK, {})
        for peer, data in list(self.peer_data_map.items()):
            if len(self.peer_data_map) <= self.max_peers * 3 // 4:
                break
            if data.privkey is None and peer not in connected:
                self.peer_record_map.pop(peer, None)
                del self.peer_data_map[peer]

    PeerStore.add_addrs = add
    PeerStore._enforce_peer_limit = evict
