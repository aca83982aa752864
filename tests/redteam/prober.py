"""`python -m tests.redteam.prober TARGET.json EVERY_S`: an honest client that asks a question every EVERY_S seconds.

It keeps its rate, however slow the answers are, and does not wait for an agent that refuses it. When a question ends
it prints a line of JSON: when it was asked, how long the first token and the end took, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.client.ask import ask_over
from p2p.client.events import Done, Token
from p2p.client.nonces import Nonces
from p2p.client.question import Endpoint, Payer, Question
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from tests.redteam.target import Target, network_of, quietly

AT_ONCE = 12  # questions that may wait for their end
GIVEN_UP_S = 40.0


async def one(network: Network, target: Target, key: Key, number: int) -> None:
    address = target.addresses[number % len(target.addresses)]
    asked, first, error = time.time(), 0.0, ""
    to, payer = Endpoint(address, target.genesis), Payer(key, Nonces(target.directory / "prober-nonces"))
    question = Question(DEFAULT_MODEL, one_message(f"question {number}"), max_tokens=8)
    problems: tuple[str, ...] = ()
    try:
        with trio.fail_after(GIVEN_UP_S):
            if to.peer_id not in network.connected():
                await quietly(network.connect, address)
            async for event in ask_over(network, to, question, payer, patience=0):
                first = first or (time.time() if isinstance(event, Token) else 0.0)
                if isinstance(event, Done):
                    problems = event.receipt.problems
    except (FolkmootError, trio.TooSlowError) as failed:
        error = f"{type(failed).__name__}: {failed}"[:200]
    line = {
        "asked": asked, "peer": number % len(target.addresses), "first_s": first - asked if first else None,
        "took_s": time.time() - asked, "error": error or "; ".join(problems),
    }
    print(json.dumps(line), flush=True)


async def run(target: Target, every_s: float) -> None:
    key = Key.load(target.directory / "client" / "account.key")
    config = NetworkConfig(Key.generate(), network_of(target.genesis), (), (), expected_size=6, min_connections=0)
    places = trio.CapacityLimiter(AT_ONCE)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network, trio.open_nursery() as nursery:
        await target.connect(network)
        number = 0
        while True:
            async def ask(number: int = number) -> None:
                async with places:
                    await one(network, target, key, number)

            nursery.start_soon(ask)
            number += 1
            await trio.sleep(every_s)


if __name__ == "__main__":
    trio.run(run, Target.load(Path(sys.argv[1])), float(sys.argv[2]))
