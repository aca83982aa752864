"""Hosts that answer a peer that dials them with garbage, floods or silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.utils.varint import encode_delim, encode_uvarint, encode_varint_prefixed

from p2p.gossip.connections.topics import PEERS_PROTOCOL
from p2p.gossip.discovery.handshake import pack_welcome

from .attacks import GARBAGE
from .lab import bare_host

EVIL = (
    "id_garbage",
    "id_bad_address",
    "id_many_protocols",
    "id_huge",
    "id_silent",
    "mss_bad_utf8",
    "mss_silent",
    "mss_reset",
    "greeting_garbage",
    "kad_garbage",
)
IDENTITIES = {
    "id_garbage": encode_varint_prefixed(GARBAGE),
    "id_huge": encode_uvarint(2**40) + bytes(1_000_000),
    "id_many_protocols": encode_varint_prefixed(
        Identify(protocols=[f"/p/{i}" for i in range(100_000)]).SerializeToString()
    ),
    "id_bad_address": encode_varint_prefixed(
        Identify(
            public_key=b"zz", listen_addrs=[b"\xff\xfe\x00"], observed_addr=b"\xff\xff", signedPeerRecord=b"\xff"
        ).SerializeToString()
    ),
}


@asynccontextmanager
async def evil_host(name: str) -> AsyncIterator[Any]:
    async with bare_host(f"evil {name}") as host:
        inner = host._swarm_stream_handler

        async def every_stream(stream: Any) -> None:
            try:
                if name == "mss_bad_utf8":
                    await stream.read(100)
                    await stream.write(encode_delim(b"/multistream/1.0.0") + encode_delim(b"\xff\xfe"))
                elif name == "mss_silent":
                    await trio.sleep_forever()
                elif name == "mss_reset":
                    await stream.reset()
                else:
                    await inner(stream)
            except Exception:  # the victim may hang up on an evil host at any point
                return

        async def identify(stream: Any) -> None:
            if name == "id_silent":
                await trio.sleep_forever()
            await stream.write(IDENTITIES[name])
            await stream.close()

        async def greet(stream: Any) -> None:
            await stream.read(1000)
            reply = b"\xff" * 40 if name == "greeting_garbage" else pack_welcome((), ())
            await stream.write(encode_varint_prefixed(reply))
            await stream.close()

        async def kad(stream: Any) -> None:
            await stream.read(1000)
            await stream.write(encode_varint_prefixed(GARBAGE))

        host.get_network().set_stream_handler(every_stream)
        host.set_stream_handler(PEERS_PROTOCOL, greet)
        if name.startswith("id_"):
            host.set_stream_handler("/ipfs/id/1.0.0", identify)
        if name == "kad_garbage":
            host.set_stream_handler("/ipfs/kad/1.0.0", kad)
        yield host
