"""Others' proposals and transactions under new retry counters (K-B).

The content is true, so only the rule "once for each content" stops them.
"""

from __future__ import annotations

from collections import deque

from p2p.base.codec import decode, encode
from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.gossip.host import NetworkConfig, open_network
from tests.redteam.target import TOPICS, Target, each_tick, network_of, quietly

PER_S = 90.0


async def attack(target: Target) -> None:
    heard: deque[tuple[str, bytes]] = deque(maxlen=64)

    def hear(topic: str, data: bytes) -> Outcome:
        heard.append((topic, data))
        return Outcome.IGNORE

    handlers = {topic: (lambda _, data, topic=topic: hear(topic, data)) for topic in ("proposals", "transactions")}
    config = NetworkConfig(
        Key.generate(), network_of(target.genesis), (), (), topics=TOPICS, expected_size=6, min_connections=0
    )
    async with open_network(config, topic_handlers=handlers, stream_handlers={}) as network:
        await target.connect(network)
        async for number in each_tick(PER_S):
            if heard:
                topic, data = heard[number % len(heard)]
                await quietly(network.publish, topic, _again(topic, data, number))


def _again(topic: str, data: bytes, number: int) -> bytes:
    """The same content in another envelope."""
    envelope = decode(data)
    place = 1 if topic == "proposals" else 0
    return encode([*envelope[:place], (1 << 40) + number, *envelope[place + 1 :]])
