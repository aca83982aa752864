"""What the network costs: the same questions through it and straight to the same vLLM, in turn, in one run. Prints
ratios.

`make bench` or `python -m testnet.bench [--requests N] [--dir DIR]`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.base.codec import unpack
from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.types import Params
from p2p.client.ask import AskSpec, ask_over
from p2p.gossip.host import NetworkConfig, open_network
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from p2p.verification.engine import Job
from testnet.providers import read_state, stop
from testnet.up import Running, bring_up

PROMPT = "Write a short story about a lighthouse."
TOKENS = 48
PARAMS = Params(700)


@dataclass(frozen=True, slots=True)
class Timing:
    """first_s: seconds to the first token. rate: tokens a second after it."""

    first_s: float
    rate: float


async def measure(tokens: AsyncIterator[object]) -> Timing:
    started = time.perf_counter()
    first = last = 0.0
    count = 0
    async for _ in tokens:
        last = time.perf_counter()
        first = first or last
        count += 1
    return Timing(first - started, (count - 1) / max(last - first, 1e-9))


async def straight(client: VllmClient, number: int) -> Timing:
    prompt = await client.tokenize_chat(PROMPT)
    return await measure(client.generate(Job(prompt, TOKENS, PARAMS, number.to_bytes(32, "big"))))


async def validated(network: Running, inference_id: str) -> None:
    """Until the chain has the inference's end."""
    while True:
        try:
            if call(network.folders[0], {"op": "inference", "id": inference_id})["end_height"]:
                return
        except InvalidRequest:
            pass  # its records are not on chain yet
        await trio.sleep(0.2)


async def run(network: Running, requests: int) -> None:
    folder = network.directory / "client"
    genesis = unpack(Genesis, (folder / "genesis.cbor").read_bytes())
    address = read_state(network.directory)["addresses"][network.folders[0].name]
    spec = AskSpec(
        address, Key.load(folder / "account.key"), genesis.network, DEFAULT_MODEL, PROMPT, PARAMS, TOKENS,
        genesis=genesis
    )
    client = VllmClient(next(iter(network.ml_nodes.values())), DEFAULT_MODEL)
    config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
    async with closing(client), open_network(config, topic_handlers={}, stream_handlers={}) as net:
        await net.connect(address)

        async def tokens() -> AsyncIterator[object]:
            async for event in ask_over(net, spec):
                if event["event"] == "token":
                    yield event
                elif event["event"] == "done":
                    asked.append(event["receipt"]["inference_id"])

        asked: list[str] = []
        pairs = []
        for number in range(requests + 1):  # the first pair warms both ways up
            through = await measure(tokens())
            # its validators share this vLLM: their work must not slow the other way
            await validated(network, asked[-1])
            pairs.append((through, await straight(client, number)))
            print(f"  pair {number}/{requests}", flush=True)
    report(pairs[1:])


def report(pairs: list[tuple[Timing, Timing]]) -> None:
    """Medians and the median of the ratios pair by pair."""
    for name, values in (
        ("time to first token, ms", [(a.first_s * 1e3, b.first_s * 1e3) for a, b in pairs]),
        ("tokens per second", [(a.rate, b.rate) for a, b in pairs]),
    ):
        through, direct = (statistics.median(column) for column in zip(*values, strict=True))
        ratio = statistics.median(a / b for a, b in values)
        print(f"{name:26} network {through:8.1f}   straight {direct:8.1f}   ratio {ratio:5.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--dir", type=Path, default=Path(".testnet/bench"))
    options = parser.parse_args()
    network = bring_up(options.dir.resolve(), 4, 1, None, print)
    try:
        trio.run(run, network, options.requests)
    finally:
        stop(network.directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
