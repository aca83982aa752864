"""A peer of py-libp2p's own pubsub on one topic, which takes JSON lines on stdin (test_interop.py).

It is stock but for what StrictNoSign needs: our message id, messages without author and sequence number, and no check
that two messages of one author have different sequence numbers. And its limit of ten messages a second is off.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p.gossipsub.rpc import message_id

LISTEN = [Multiaddr("/ip4/127.0.0.1/tcp/0")]


def emit(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def run(settings: dict[str, Any]) -> None:
    topic = settings["topic"]
    config = ConnectionConfig(min_connections=0, low_watermark=0, max_connections_per_peer=1)
    host = new_host(
        key_pair=create_new_key_pair(bytes.fromhex(settings["seed"])), listen_addrs=LISTEN, connection_config=config,
    )
    gossip = GossipSub(
        [TProtocol(PROTOCOL_ID_V11)], 6, 4, 12, heartbeat_initial_delay=0.1, heartbeat_interval=1,
        prune_back_off=settings["backoff_s"], adaptive_gossip_enabled=False, spam_protection_enabled=False,
    )
    gossip._check_equivocation = lambda message: True
    pubsub = Pubsub(
        host, gossip, strict_signing=False, msg_id_constructor=lambda m: message_id(m.topicIDs[0], bytes(m.data)),
    )
    got: list[str] = []
    async with host.run(listen_addrs=LISTEN), background_trio_service(gossip), background_trio_service(pubsub):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(topic)
        if "dial" in settings:
            await host.connect(info_from_p2p_addr(Multiaddr(settings["dial"])))
        emit(ready=str(host.get_addrs()[0]), peer=str(host.get_id()))

        async def listen() -> None:
            async for message in subscription:
                got.append(bytes(message.data).hex())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            buffer = b""
            async for chunk in trio.lowlevel.FdStream(os.dup(0)):
                buffer += chunk
                while b"\n" in buffer:
                    line, buffer = buffer.split(b"\n", 1)
                    await obey(json.loads(line), pubsub, gossip, topic)
                    await trio.sleep(0)
                    emit(got=got, meshed=[str(peer) for peer in gossip.mesh[topic]])


async def obey(command: dict[str, Any], pubsub: Any, gossip: Any, topic: str) -> None:
    match command["op"]:
        case "publish":
            message = rpc_pb2.Message(data=bytes.fromhex(command["data"]), topicIDs=[topic])
            await pubsub.push_msg(pubsub.my_id, message)
        case "prune":
            for peer in list(gossip.mesh[topic]):
                gossip.mesh[topic].discard(peer)
                await gossip.emit_prune(topic, peer, False, False)
                gossip._add_back_off(peer, topic, False)


if __name__ == "__main__":
    trio.run(run, json.loads(sys.argv[1]))
