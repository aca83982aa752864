"""Sixty questions at once, of twelve accounts, through several agents; nobody reads the answers (K-D, K-G).

More of them ran at once than the limit of sixteen allows, for more money than the accounts had.
"""

from __future__ import annotations

import trio

from p2p.base.errors import FolkmootError
from p2p.client.ask import ask_over
from p2p.client.question import AskSpec
from p2p.gossip.host import Network
from p2p.peer.config import DEFAULT_MODEL
from tests.redteam.target import Target, network_of

AT_ONCE = 60
EVERY_S = 4.0


async def attack(target: Target) -> None:
    async with target.joined() as network, trio.open_nursery() as nursery:
        number = 0
        while True:
            for _ in range(AT_ONCE):
                nursery.start_soon(_ask, target, network, number)
                number += 1
            await trio.sleep(EVERY_S)


async def _ask(target: Target, network: Network, number: int) -> None:
    key, address = target.rich[number % len(target.rich)], target.addresses[number % len(target.addresses)]
    spec = AskSpec(
        address, key, network_of(target.genesis), DEFAULT_MODEL, f"burst {number}", max_tokens=200,
        nonce=1 + number // len(target.rich),
        genesis=target.genesis,
    )
    try:
        with trio.move_on_after(3.0):
            async for _ in ask_over(network, spec):
                pass
    except FolkmootError:
        return
