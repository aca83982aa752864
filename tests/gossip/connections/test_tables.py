"""What the library remembers about peers: a stranger's answer neither fills it nor replaces our own entry."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.kad_dht import kad_dht, peer_routing
from libp2p.kad_dht.pb import kademlia_pb2
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError, env_to_send_in_RPC
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from p2p.base.errors import Unavailable
from p2p.base.limits import MAX_ADDRESSES_PER_PEER, MAX_DHT_MESSAGE, MAX_DHT_PEERS, MAX_PEER_RECORD
from p2p.gossip.connections import guards
from p2p.gossip.connections.budget import Budgets
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guarded_tables import bounded_message
from p2p.gossip.connections.reach import DialPolicy
from p2p.gossip.host import _Judge
from tests.gossip.lab import seed

FIND_NODE = kademlia_pb2.Message.FIND_NODE


def invented() -> ID:
    return ID(b"\x00\x24\x08\x01\x12\x20" + os.urandom(32))


def addresses(many: int) -> list[Multiaddr]:
    return [Multiaddr(f"/ip4/8.8.{number // 250}.{number % 250}/tcp/4001") for number in range(many)]


def answer(many: int, *, each: int = 1, record: bytes = b"") -> Any:
    message = kademlia_pb2.Message(type=FIND_NODE)
    for _ in range(many):
        peer = message.closerPeers.add(id=invented().to_bytes(), addrs=[a.to_bytes() for a in addresses(each)])
        if record:
            peer.signedRecord = record
    return message


def test_an_answer_of_the_dht_names_no_more_peers_than_an_honest_one() -> None:
    """G-13."""
    honest = answer(MAX_DHT_PEERS, each=MAX_ADDRESSES_PER_PEER, record=bytes(MAX_PEER_RECORD))
    honest.senderRecord = bytes(MAX_PEER_RECORD)
    assert bounded_message(honest.SerializeToString()) == honest.SerializeToString()
    with pytest.raises(ParseError, match="in one answer"):
        bounded_message(answer(MAX_DHT_PEERS + 1).SerializeToString())
    swollen = answer(3, each=500, record=bytes(MAX_PEER_RECORD + 1))
    swollen.senderRecord = bytes(MAX_PEER_RECORD + 1)
    out = kademlia_pb2.Message()
    out.ParseFromString(bounded_message(swollen.SerializeToString()))
    kept = [(len(peer.addrs), peer.HasField("signedRecord")) for peer in out.closerPeers]
    assert kept == [(MAX_ADDRESSES_PER_PEER, False)] * 3
    assert not out.HasField("senderRecord")
    with pytest.raises(DecodeError):
        bounded_message(b"\xff" * 20)


async def test_the_dht_reads_its_answers_bounded() -> None:
    """Client and server of the DHT both read with it."""
    guards.install()

    class Stream:
        data = b""

        async def read(self, n: int = -1) -> bytes:
            out, self.data = self.data[:n], self.data[n:]
            return out

    raw = answer(1260).SerializeToString()
    assert len(raw) < MAX_DHT_MESSAGE
    for module in (kad_dht, peer_routing):
        stream = Stream()
        stream.data = encode_varint_prefixed(raw)
        with pytest.raises(ParseError):
            await module.read_varint_prefixed_bytes_limited(stream, 1 << 22)


@pytest.fixture
def host() -> Any:
    guards.install()
    made = new_host(key_pair=create_new_key_pair(seed("own")))
    guards.set_door(made, Door(Budgets()), DialPolicy())
    return made


def test_a_thousand_invented_peers_do_not_drive_out_our_own_keys(host: Any) -> None:
    """G-16. Connected peers stay as well, and the store is never above its limit when peers came with addresses."""
    store, friend = host.get_peerstore(), invented()
    store.add_addrs(friend, addresses(1), 3600)
    host.get_network().connections[friend] = []
    for _ in range(3 * store.max_peers):
        store.add_addrs(invented(), addresses(1), 3600)
        assert len(store.peer_data_map) <= store.max_peers
    for _ in range(store.max_peers):
        store.add_protocols(invented(), ["/a"])
    store._enforce_peer_limit()
    assert len(store.peer_data_map) <= store.max_peers
    assert host.get_private_key().get_public_key() == host.get_public_key()
    store.set_local_record(None)
    assert env_to_send_in_RPC(host)[0]
    assert store.addrs(friend) == addresses(1)


def test_a_peer_has_a_bounded_number_of_addresses(host: Any) -> None:
    store, peer = host.get_peerstore(), invented()
    for address in addresses(1000):
        store.add_addrs(peer, [address], 3600)
    store.add_addrs(peer, addresses(500), 3600)
    assert len(store.addrs(peer)) <= 2 * MAX_ADDRESSES_PER_PEER


@pytest.mark.parametrize(
    ("error", "points"),
    [
        (DecodeError("bytes"), 10), (ParseError("bytes"), 10), (MessageTooLarge("bytes"), 10),
        (UnicodeDecodeError("utf8", b"x", 0, 1, "no"), 10),
        (PeerStoreError("peer ID not found"), 0), (KeyError("ours"), 0), (AttributeError("ours"), 0),
        (Unavailable("ours", field="x"), 0),
        (ConnectionResetError(), 0), (EOFError(), 0),
    ],
)  # fmt: skip
async def test_only_what_its_bytes_did_costs_a_peer_points(error: Exception, points: int) -> None:
    """Before: a fault of this program while a stream of an honest peer was open cost that peer ten points."""
    judge = _Judge("me", Door(Budgets()))
    judge.report("peer", error)
    assert round(judge.scores.points("peer", trio.current_time())) == points
