"""`make bench`: what the network costs. The same questions go through it and straight to the same vLLM, in turn.

Prints medians and ratios. `python -m testnet.bench [--requests N] [--dir DIR]`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.errors import InvalidRequest
from p2p.base.keys import Key
from p2p.base.types import Params
from p2p.client.ask import ask_over
from p2p.client.events import Done, Token
from p2p.client.question import Endpoint, Payer, Question
from p2p.gossip.host import NetworkConfig, open_network
from p2p.inference.stack.model import eos_ids, prepare_model
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing
from p2p.peer.config import DEFAULT_MODEL
from p2p.text.model_files import read_model_text
from p2p.verification.engine import Job
from testnet.processes import stop
from testnet.up import Running, bring_up

PROMPT = "Write a short story about a lighthouse."
TOKENS = 48
PARAMS = Params(700)


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast one answer came."""

    first_s: float  # seconds to the first token
    rate: float  # tokens per second after it


async def measure(tokens: AsyncIterator[object]) -> Timing:
    """Take all tokens of an answer."""
    started = time.perf_counter()
    first = last = 0.0
    count = 0
    async for _ in tokens:
        last = time.perf_counter()
        first = first or last
        count += 1
    return Timing(first - started, (count - 1) / max(last - first, 1e-9))


async def straight(client: VllmClient, number: int) -> Timing:
    """Ask vLLM itself. number: of the question; the seed of its tape."""
    prompt = read_model_text(prepare_model()).prompt(one_message(PROMPT))
    job = Job(prompt, TOKENS, PARAMS, number.to_bytes(32, "big"), ends=eos_ids(prepare_model()))
    return await measure(client.generate(job))


async def validated(network: Running, inference_id: str) -> None:
    """Wait until the chain has the inference's end."""
    while True:
        try:
            if network.query(op="inference", id=inference_id)["end_height"]:
                return
        except InvalidRequest:
            pass  # its records are not on chain yet
        await trio.sleep(0.2)


async def run(network: Running, requests: int) -> None:
    to, payer = Endpoint(network.address(0), network.genesis), Payer(Key.load(network.client / "account.key"))
    question = Question(DEFAULT_MODEL, one_message(PROMPT), PARAMS, TOKENS)
    client = VllmClient(next(iter(network.ml_nodes.values())), DEFAULT_MODEL)
    config = NetworkConfig(Key.generate(), to.network, (), (), expected_size=1, min_connections=0)
    async with closing(client), open_network(config, topic_handlers={}, stream_handlers={}) as net:
        await net.connect(to.address)

        async def tokens() -> AsyncIterator[object]:
            async for event in ask_over(net, to, question, payer):
                if isinstance(event, Token):
                    yield event
                elif isinstance(event, Done):
                    asked.append(event.receipt.inference_id.hex())

        asked: list[str] = []
        pairs = []
        for number in range(requests + 1):  # the first pair warms both ways up
            through = await measure(tokens())
            # its validators use the same vLLM, and must be done
            await validated(network, asked[-1])
            pairs.append((through, await straight(client, number)))
            print(f"  pair {number}/{requests}", flush=True)
    report(pairs[1:])


def report(pairs: list[tuple[Timing, Timing]]) -> None:
    """Print medians, and the median of the ratios of the pairs."""
    for name, values in (
        ("time to first token, ms", [(a.first_s * 1e3, b.first_s * 1e3) for a, b in pairs]),
        ("tokens per second", [(a.rate, b.rate) for a, b in pairs]),
    ):
        through, direct = (statistics.median(column) for column in zip(*values, strict=True))
        ratio = statistics.median(a / b for a, b in values)
        print(f"{name:26} network {through:8.1f}   straight {direct:8.1f}   ratio {ratio:5.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10, help="pairs of questions (default: %(default)s)")
    parser.add_argument(
        "--dir", type=Path, default=Path(".testnet/bench"), help="of the network (default: %(default)s)",
    )
    options = parser.parse_args()
    network = bring_up(options.dir.resolve(), 4, 1, None, print)
    try:
        trio.run(run, network, options.requests)
    finally:
        stop(network.directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
