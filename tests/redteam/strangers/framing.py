"""An agent that hands whole answers, their ends included, to the next executor to sign on (K-C): the honest one was called a cheat for them."""

from __future__ import annotations

from p2p.base.errors import FolkmootError
from p2p.client.ask import AskSpec, ask_over
from p2p.client.nonces import Nonces
from p2p.peer.config import DEFAULT_MODEL
from tests.redteam.target import Target, each_tick, network_of, quietly

CHEAT = "eos_prefix"
PER_S = 1.0


async def attack(target: Target) -> None:
    key = target.rich[0]
    async with target.joined() as network:
        await quietly(network.connect, target.hostile)
        async for number in each_tick(PER_S):
            spec = AskSpec(
                target.hostile, key, network_of(target.genesis), DEFAULT_MODEL, f"framed {number}", max_tokens=60,
                nonces=Nonces(target.directory / "framing-nonces"),
            )
            try:
                async for _ in ask_over(network, spec):
                    pass
            except FolkmootError:
                await quietly(network.connect, target.hostile)
