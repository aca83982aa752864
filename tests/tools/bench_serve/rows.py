"""The rows that this project measures itself: pairs of answers, one of the gateway and one of the vLLM, in turn.

Law: figures are medians of pairs of one run; no question is asked twice, so a prefix cache has no part in them but
where a row is about it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import trio

from p2p.base.body import one_message
from p2p.base.types import Params
from p2p.client.client import Client
from p2p.client.events import Accepted, Token
from p2p.client.question import Question
from p2p.peer.config import DEFAULT_MODEL
from testnet.hops import hops
from tests.tools.bench_serve.network import PEERS, Measured
from tests.tools.bench_serve.server import Refused, Server, Streamed, asked

SHORT_TOKENS, LONG_TOKENS = 16, 128  # of answers
HISTORY = " ".join(f"Fact {at}: the {at}th lighthouse of the coast has {at % 7} steps." for at in range(66))  # 1,300
QUESTIONS = ("Say hello.", "Name a colour.", "Where is Rome?", "Count to three.", "What is tea?")
ROUNDS, FEW = 3, 4  # of up to FEW streams at once; of more one: so many answers, and so many checks of them
TITLE = f"{'':44}{'network':>9}{'vLLM':>9}{'added':>9}{'p99':>9}{'ratio':>8}"


def row(name: str, ours: Sequence[float], theirs: Sequence[float], scale: float = 1e3) -> None:
    """Medians, the difference of the medians, and the 99th percentile of the differences of pairs."""
    one, other = statistics.median(ours), statistics.median(theirs)
    added = sorted((a - b) * scale for a, b in zip(ours, theirs, strict=True))
    p99 = added[min(len(added) - 1, int(0.99 * len(added)))]
    print(
        f"{name:44}{one * scale:9.1f}{other * scale:9.1f}{(one - other) * scale:9.1f}{p99:9.1f}{one / other:8.2f}",
        flush=True,
    )


async def measure(bench: Measured, pairs: int, widths: Sequence[int]) -> None:
    """Print the rows about the time to the first token (pairs: 0 for none) and those about many streams."""
    print(TITLE)
    if pairs:
        await first(bench, pairs)
    for streams in widths:
        await rate(bench, streams)


async def first(bench: Measured, pairs: int) -> None:
    print(hops(bench.network, await first_tokens(bench.both, "short question", "", pairs)), flush=True)
    await first_tokens(bench.both, "1,300 tokens", HISTORY, max(3, pairs // 4))
    await second_turns(bench.both, max(3, pairs // 2))
    for way, answers in zip(("gateway", "library"), await by_library(bench, pairs), strict=True):
        print(f"by the {way}: {hops(bench.network, answers)}", flush=True)


async def first_tokens(both: Sequence[Server], what: str, history: str, pairs: int) -> list[Streamed]:
    """Returns the network's answers, for the table of hops."""
    found: tuple[list[float], list[float]] = ([], [])
    ours: list[Streamed] = []
    for number in range(pairs + 1):  # the first pair warms both ways up
        for at, server in enumerate(both):
            question = f"{number}.{at} {len(history)} {history} {QUESTIONS[number % 5]}"
            streamed = await server.stream(asked(question), SHORT_TOKENS)
            if number:
                found[at].append(streamed.first_s)
                ours += [streamed] if streamed.inference else []
    row(f"time to first token, {what}, ms", *found)
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


async def by_library(bench: Measured, pairs: int) -> tuple[list[Streamed], list[Streamed]]:
    """The same network without the gateway in between. Returns the answers of both ways."""
    network, gateway = bench.network, bench.gateway
    found: tuple[list[Streamed], list[Streamed]] = ([], [])
    async with Client.open(network.client, peers=[network.address(at) for at in range(PEERS)]) as client:
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


async def rate(bench: Measured, streams: int) -> None:
    """Tokens a second of so many streams at once, and what the peers' CPU costs a token."""
    found: tuple[list[float], list[float]] = ([], [])
    refused = 0
    cpu, rounds = 0.0, ROUNDS if streams <= FEW else 1
    for number in range(rounds):
        before = bench.peers_cpu()
        speed, busy = await together(bench.gateway, streams, number)
        found[0].append(speed)
        refused += busy
        cpu += bench.peers_cpu() - before
        found[1].append((await together(bench.direct, streams, number + 1000))[0])
    one, other = statistics.median(found[0]), statistics.median(found[1])
    each = cpu * 1e3 / (rounds * streams * LONG_TOKENS)
    print(f"{f'tokens a second, {streams} at once':44}{one:9.1f}{other:9.1f}{'':18}{one / other:8.2f}"
          f"   peers' CPU a token, checks included, {each:.2f} ms"
          f"{f'   {refused} of {rounds * streams} refused' if refused else ''}", flush=True)


async def together(server: Server, streams: int, number: int) -> tuple[float, int]:
    """(tokens a second of so many streams at once, how many of them were refused)."""
    counted: list[tuple[int, float]] = []  # tokens and seconds of a stream
    refused = 0

    async def one(at: int) -> None:
        nonlocal refused
        question = asked(f"{number}.{at} Tell a story about the number {at}.")
        try:
            streamed = await server.stream(question, LONG_TOKENS)
        except Refused:
            refused += 1
            return
        counted.append((streamed.tokens, streamed.took_s))

    async with trio.open_nursery() as nursery:
        for at in range(streams):
            nursery.start_soon(one, at)
    return sum(tokens for tokens, _ in counted) / max(took for _, took in counted), refused
