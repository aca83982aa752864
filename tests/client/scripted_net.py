"""Scripted peers (scripted.py) behind real libp2p, on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from p2p.base.genesis import Genesis
from p2p.gossip.host import NetworkConfig, open_network
from tests.client.scripted import ScriptedPeer


@asynccontextmanager
async def listening(peers: Sequence[ScriptedPeer]) -> AsyncIterator[tuple[str, ...]]:
    """Their addresses, one for each."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(_host(peer)) for peer in peers])


@asynccontextmanager
async def _host(peer: ScriptedPeer) -> AsyncIterator[str]:
    genesis: Genesis = peer.liar.chain.genesis
    config = NetworkConfig(peer.key, genesis.network, ("/ip4/127.0.0.1/tcp/0",), (), min_connections=0, relay=False)
    handlers = {"query": peer.query, "infer": peer.infer}
    async with open_network(config, topic_handlers={}, stream_handlers=handlers) as network:
        yield network.addresses()[0]
