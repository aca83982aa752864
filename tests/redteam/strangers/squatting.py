"""Registrations from accounts without money, and from some with money (K-D).

A thousand of them closed the registry to newcomers within 15 seconds.
"""

from __future__ import annotations

from collections import Counter

from p2p.base.keys import Domain, Key
from p2p.base.types import VERSION
from p2p.gossip.host import Network
from p2p.ledger.rules.ops import Register, consent, sign_op
from p2p.wire.frames import SubmitTransaction, pack_frame
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S = 40.0


async def attack(target: Target) -> None:
    nonces: Counter[bytes] = Counter()
    async with target.joined() as network:
        async for number in each_tick(PER_S):
            account = target.rich[number % len(target.rich)] if number % 4 == 0 else Key.generate()
            nonces[account.public] += 1
            await _register(
                target, network, account, nonces[account.public], target.peers()[number % len(target.addresses)]
            )


async def _register(target: Target, network: Network, account: Key, nonce: int, peer: str) -> None:
    node, name = Key.generate(), network_of(target.genesis)
    body = Register(node.public, (), (), 0, "squatter", node.sign(Domain.NODE, name, consent(account.public)))
    stream = await quietly(network.open_stream, peer, "query")
    if stream is not None:
        await quietly(stream.send, pack_frame(SubmitTransaction(VERSION, sign_op(account, name, nonce, body))))
        await quietly(stream.receive, timeout_s=1.0)
        await quietly(stream.reset)
