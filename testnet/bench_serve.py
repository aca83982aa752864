"""`make bench-serve`: what the network adds to a vLLM, over HTTP as tools ask.

Four peers and one vLLM on this machine. The same questions go, in turn, to `folkmoot gateway` and to that vLLM itself;
figures are medians of pairs, ratios of the same run. All of them share the machine's cores, so ratios count.

    python -m testnet.bench_serve [--pairs 20] [--concurrency 1,4,16] [--dir DIR]

Rows: time to the first token of a short question; of the second turn of a conversation with long history; of the same
peer asked by the client library without the gateway; where the time to the first token goes; tokens a second with
several streams at once; CPU of the peers a streamed token; and, where it is installed, what `vllm bench serve` says of
both.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from p2p.base.body import one_message
from p2p.base.types import Params
from p2p.client.client import Client
from p2p.client.events import Accepted, Token
from p2p.client.question import Question
from p2p.inference.stack.model import prepare_model
from p2p.peer.config import DEFAULT_MODEL
from testnet.hops import hops
from testnet.processes import start, stop
from testnet.state_file import read_state
from testnet.up import Running, bring_up

SHORT_TOKENS, LONG_TOKENS = 16, 128  # of answers
HISTORY = " ".join(f"Fact {at}: the {at}th lighthouse of the coast has {at % 7} steps." for at in range(66))  # 1,300
QUESTIONS = ("Say hello.", "Name a colour.", "Where is Rome?", "Count to three.", "What is tea?")
TICKS = os.sysconf("SC_CLK_TCK")
GATEWAY_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """One streamed answer."""

    first_s: float  # to the first text
    took_s: float
    tokens: int
    text: str
    inference: str  # its id; empty from vLLM
    timing: str  # the header Server-Timing
    begun_s: float  # on the machine's monotonic clock


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two that are compared."""

    name: str
    url: str
    http: httpx.AsyncClient

    async def stream(self, messages: Sequence[dict[str, str]], tokens: int) -> Streamed:
        """One answer. Returns when it was checked, which its times do not have: here its validators use the same vLLM,
        and would slow the next one."""
        body = {
            "model": DEFAULT_MODEL, "messages": list(messages), "max_tokens": tokens, "stream": True,
            "temperature": 0.7, "min_tokens": tokens, "stream_options": {"include_usage": True},
        }
        begun, first, pieces, counted = time.monotonic(), 0.0, list[str](), 0
        async with self.http.stream("POST", f"{self.url}/v1/chat/completions", json=body, timeout=300) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{self.name}: {answer.status_code} {(await answer.aread())[:200]!r}")
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise RuntimeError(f"{self.name}: {event['error']}")
                counted = (event.get("usage") or {}).get("completion_tokens", counted)
                choices = event.get("choices") or [{}]
                if text := (choices[0].get("delta") or {}).get("content"):
                    first = first or time.monotonic() - begun
                    pieces.append(text)
            inference = answer.headers.get("x-folkmoot-inference", "")
        took = time.monotonic() - begun
        if inference:
            await self.checked(inference)
        timing = answer.headers.get("server-timing", "")
        return Streamed(first, took, counted, "".join(pieces), inference, timing, begun)

    async def checked(self, inference: str) -> None:
        """Returns when the network has done with the inference."""
        while True:
            found = await self.http.get(f"{self.url}/v1/folkmoot/inferences/{inference}")
            if found.status_code == 200 and found.json()["end_height"]:
                return
            await trio.sleep(0.2)


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def row(name: str, ours: Sequence[float], theirs: Sequence[float], scale: float = 1e3) -> None:
    """Medians, the difference of the medians, and the 99th percentile of the differences of pairs."""
    one, other = statistics.median(ours), statistics.median(theirs)
    added = sorted((a - b) * scale for a, b in zip(ours, theirs, strict=True))
    p99 = added[min(len(added) - 1, int(0.99 * len(added)))]
    print(f"{name:44}{one * scale:9.1f}{other * scale:9.1f}{(one - other) * scale:9.1f}{p99:9.1f}{one / other:8.2f}")


async def first_tokens(both: Sequence[Server], pairs: int) -> list[Streamed]:
    """Returns the network's answers, for the table of hops."""
    found: tuple[list[float], list[float]] = ([], [])
    ours: list[Streamed] = []
    for number in range(pairs + 1):  # the first pair warms both ways up
        for at, server in enumerate(both):
            # each question is asked once of each: a prefix cache has no part of it
            streamed = await server.stream(asked(f"{number}.{at} {QUESTIONS[number % 5]}"), SHORT_TOKENS)
            if number:
                found[at].append(streamed.first_s)
                ours += [streamed] if streamed.inference else []
    row("time to first token, short question, ms", *found)
    return ours


async def second_turns(both: Sequence[Server], pairs: int) -> None:
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for at, server in enumerate(both):
            history = asked(f"Conversation {number}.{at}. {HISTORY} {QUESTIONS[number % 5]}")
            text = (await server.stream(history, SHORT_TOKENS)).text
            then = [*history, {"role": "assistant", "content": text}, *asked("And then?")]
            found[at].append((await server.stream(then, SHORT_TOKENS)).first_s)
    row("time to first token, turn 2 of a session, ms", *found)


async def by_library(gateway: Server, network: Running, pairs: int) -> tuple[list[Streamed], list[Streamed]]:
    """The same network without the gateway in between. Returns the answers of both ways."""
    found: tuple[list[Streamed], list[Streamed]] = ([], [])
    async with Client.open(network.client, peers=[network.address(at) for at in range(4)]) as client:
        for number in range(pairs + 1):
            first = await gateway.stream(asked(f"g{number} {QUESTIONS[number % 5]}"), SHORT_TOKENS)
            body = one_message(f"l{number} {QUESTIONS[number % 5]}")
            question = Question(DEFAULT_MODEL, body, Params(700), SHORT_TOKENS)
            begun, own, inference = time.monotonic(), 0.0, ""
            async with client.answer(question) as events:
                async for event in events:
                    if isinstance(event, Accepted):
                        inference = event.inference_id.hex()
                    elif isinstance(event, Token) and event.text and not own:
                        own = time.monotonic() - begun
            await gateway.checked(inference)
            if number:
                found[0].append(first)
                found[1].append(Streamed(own, 0.0, SHORT_TOKENS, "", inference, "", begun))
    ours, theirs = ([one.first_s for one in way] for way in found)
    row("time to first token, gateway over library, ms", ours, theirs)
    return found


async def together(server: Server, streams: int, number: int) -> float:
    """Tokens a second of so many streams at once."""
    counted: list[tuple[int, float]] = []  # tokens and seconds of a stream

    async def one(at: int) -> None:
        question = asked(f"{number}.{at} Tell a story about the number {at}.")
        streamed = await server.stream(question, LONG_TOKENS)
        counted.append((streamed.tokens, streamed.took_s))

    async with trio.open_nursery() as nursery:
        for at in range(streams):
            nursery.start_soon(one, at)
    return sum(tokens for tokens, _ in counted) / max(took for _, took in counted)


def peers_cpu(network: Running) -> float:
    """CPU seconds of all peers so far."""
    total = 0
    for folder in network.folders:
        pid = read_state(network.directory)["processes"][folder.name]["pid"]
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


async def rates(both: Sequence[Server], network: Running, widths: Sequence[int], rounds: int) -> None:
    for streams in widths:
        found: tuple[list[float], list[float]] = ([], [])
        cpu = 0.0
        for number in range(rounds):
            before = peers_cpu(network)
            found[0].append(await together(both[0], streams, number))
            cpu += peers_cpu(network) - before
            found[1].append(await together(both[1], streams, number + 1000))
        one, other = statistics.median(found[0]), statistics.median(found[1])
        each = cpu * 1e3 / (rounds * streams * LONG_TOKENS)
        print(f"{f'tokens a second, {streams} at once':44}{one:9.1f}{other:9.1f}{'':18}{one / other:8.2f}"
              f"   peers' CPU a token {each:.2f} ms")


def vllm_bench(both: Sequence[Server]) -> None:
    """`vllm bench serve`, unmodified, against both."""
    model = prepare_model()
    for server in both:
        command = [
            sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai-chat",
            "--endpoint", "/v1/chat/completions",
            "--base-url", server.url, "--model", DEFAULT_MODEL, "--tokenizer", str(model),
            "--dataset-name", "random", "--random-input-len", "64", "--random-output-len", "32", "--num-prompts", "16",
            "--max-concurrency", "4", "--seed", "7",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        wanted = ("Successful requests", "Median TTFT", "Output token throughput (tok/s)", "Median TPOT")
        lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip().startswith(wanted)]
        said = "; ".join(lines) or f"failed: {(done.stderr or done.stdout)[-300:]}"
        print(f"vllm bench serve, {server.name}: {said}")


def start_gateway(network: Running) -> str:
    """Starts `folkmoot gateway`; returns its URL."""
    log = network.directory / "log" / "gateway.log"
    argv = ["p2p", "gateway", "--json", "--dir", str(network.client), "--listen", "127.0.0.1:0"]
    start("gateway", [*argv, *(w for at in range(4) for w in ("--peer", network.address(at)))], log, network.directory)
    until = time.monotonic() + GATEWAY_WAIT_S
    while time.monotonic() < until:
        for line in log.read_text().splitlines() if log.exists() else ():
            if line.startswith("{") and json.loads(line).get("event") == "listening":
                return str(json.loads(line)["url"])
        time.sleep(0.2)
    raise RuntimeError(f"the gateway did not start: {log.read_text()[-500:]}")


async def run(network: Running, gateway: str, pairs: int, widths: Sequence[int]) -> None:
    async with httpx.AsyncClient() as one, httpx.AsyncClient() as other:
        direct = next(iter(network.ml_nodes.values()))
        if direct.startswith("unix:"):
            other = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=direct.removeprefix("unix:")))
            direct = "http://localhost"
        both = Server("gateway", gateway, one), Server("vLLM", direct, other)
        print(f"{'':44}{'network':>9}{'vLLM':>9}{'added':>9}{'p99':>9}{'ratio':>8}")
        print(hops(network, await first_tokens(both, pairs)), flush=True)
        await second_turns(both, max(3, pairs // 2))
        for way, answers in zip(("gateway", "library"), await by_library(both[0], network, pairs), strict=True):
            print(f"by the {way}: {hops(network, answers)}", flush=True)
        await rates(both, network, widths, 3)
        if not direct.startswith("http://localhost"):
            await trio.to_thread.run_sync(vllm_bench, both)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--concurrency", default="1,4,16")
    parser.add_argument("--dir", type=Path, default=Path(".testnet/bench-serve"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the network is stopped too
    network = bring_up(options.dir.resolve(), 4, 1, None, print)
    try:
        widths = [int(word) for word in options.concurrency.split(",")]
        trio.run(run, network, start_gateway(network), options.pairs, widths)
    finally:
        stop(network.directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
