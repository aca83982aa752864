"""`make cache`: long sessions over a real vLLM with prefix caching; does a cached prefix ever cost a token?

Conversations of many turns, each with the sampling of its own, run several at once. After each turn a validator's
replay looks at the answer: one prefill of the whole conversation, which takes nothing from the cache, and the tape. A
token is lost where the tape would have taken another one by more than rounding. Answers are counted apart that end
beyond the context up to which these kernels are exact (decision 014): there decode and prefill differ without a cache
too, and validators judge by noise. Exit code 1 when one is lost before that, or nothing came from the cache.

    python -m tests.tools.cache_replay [--tokens 50000] [--at-once 8]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import httpx
import trio

from p2p.base.body import Body, Chat, ChatMessage, Role
from p2p.base.errors import Unavailable
from p2p.base.types import Params
from p2p.inference.stack.model import MODEL_NAME, eos_ids, prepare_model
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.text.model_files import read_model_text
from p2p.text.model_text import ModelText
from p2p.verification.artifact import Position
from p2p.verification.engine import Job, Row
from p2p.verification.profile import shipped
from p2p.verification.sampling import sampling_of
from p2p.verification.statistics import EXACT_NATS, EXCESS, LEAD, ROW_TOP, answer_facts

TURNS, ANSWER = 8, 120  # of a conversation; tokens of an answer
KINDS = (
    Params(700), Params(1000), Params(1000, 40, 0, 950), Params(0), Params(800, repetition_milli=1100),
    Params(900, 0, 0, 1000, 600, 200), Params(1000, 0, 50),
)
QUESTIONS = (
    "Tell me about the sea.", "What came before that?", "Make a list of it.", "Who was there?", "Why?",
    "Say it in other words.", "Continue the story.", "What do you think of it?",
)
PATIENCE_S, TRIES = 600.0, 3
PROGRESS_TOKENS = 2000


@dataclass
class Found:
    """What was seen so far."""

    wanted: int
    tokens: int = 0
    lost: int = 0  # the tape takes another token than was sent
    beyond: int = 0  # tokens of answers that end beyond the exact context, and how many of them are lost
    lost_beyond: int = 0
    cold: int = 0  # of them, those that are lost without a cache as well
    outside: int = 0  # of them, those that a mask excludes
    turns: int = 0
    hits: int = 0  # later turns that found an earlier one in the cache
    prompt: int = 0  # tokens of prompts, and how many of them came from the cache
    cached: int = 0
    worst: float = 0.0  # nats
    told: int = field(default=0, repr=False)


async def conversation(
    client: VllmClient, text: ModelText, ends: tuple[int, ...], number: int, found: Found, exact: int
) -> None:
    """One session. exact: the context up to which these kernels are exact."""
    session = sha256(b"session %d" % number).digest()
    messages: list[ChatMessage] = [
        ChatMessage(Role.SYSTEM, f"You are guide number {number} of a long coast with {number % 17} lighthouses.")
    ]
    for turn in range(TURNS):
        messages.append(ChatMessage(Role.USER, QUESTIONS[(turn + number) % len(QUESTIONS)]))
        prompt = text.prompt(Body(Chat(tuple(messages))))
        seed = sha256(b"seed %d %d" % (number, turn)).digest()
        job = Job(prompt, ANSWER, KINDS[number % len(KINDS)], seed, ends=ends, session=session)
        steps = [step async for step in client.generate(job)]
        tokens = [step.token for step in steps]
        positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
        rows = await scored(client, prompt, tokens)
        facts = answer_facts(positions, rows, job.params, seed, sampling=sampling_of(job, frozenset(ends)))
        losses = facts[:, (LEAD, EXCESS)].tolist()
        lost = note(found, turn, len(prompt), steps[-1].cached, losses, exact=len(prompt) + len(tokens) <= exact)
        if lost:
            cold = [step async for step in client.generate(replace(job, session=b""))]
            same = sum(cold[at].token == tokens[at] for at in lost if at < len(cold))
            found.cold += same
            print(f"session {number} turn {turn} {job.params} prompt {len(prompt)} cached {steps[-1].cached} lost at "
                  f"{[(at, *(round(float(x), 6) for x in facts[at, (LEAD, EXCESS)])) for at in lost]}; "
                  f"{same} the same without a cache", flush=True)
        messages.append(ChatMessage(Role.ASSISTANT, text.vocabulary.text([t for t in tokens if t not in ends])))
        if found.tokens >= found.wanted:
            return


async def scored(client: VllmClient, prompt: Sequence[int], tokens: Sequence[int]) -> Sequence[Row]:
    """As a validator asks: again where the engine did not answer."""
    for _ in range(TRIES - 1):
        try:
            return await client.score(prompt, tokens, ROW_TOP)
        except Unavailable as error:
            print(f"asked again: {error}", file=sys.stderr, flush=True)
    return await client.score(prompt, tokens, ROW_TOP)


def note(
    found: Found, turn: int, prompt: int, cached: int, facts: Sequence[Sequence[float]], *, exact: bool
) -> list[int]:
    """Positions that lost. exact: the answer ends within the exact context."""
    found.turns += 1
    found.tokens += len(facts)
    found.beyond += 0 if exact else len(facts)
    found.prompt += prompt
    found.cached += cached
    found.hits += bool(turn and cached)
    lost = [at for at, (lead, excess) in enumerate(facts) if max(-lead, excess) > EXACT_NATS]
    if exact:
        found.lost += len(lost)
        found.outside += sum(excess > EXACT_NATS for _, excess in facts)
        found.worst = max(found.worst, *(max(-lead, excess) for lead, excess in facts))
    else:
        found.lost_beyond += len(lost)
    if found.tokens - found.told >= PROGRESS_TOKENS:
        found.told = found.tokens
        print(f"[{time.strftime('%H:%M:%S')}] {found.tokens} tokens, {found.lost} lost, {found.lost_beyond} of "
              f"{found.beyond} beyond the exact context", file=sys.stderr, flush=True)
    return lost


async def measure(wanted: int, at_once: int, keep: Path | None) -> Found:
    model = prepare_model()
    text, ends, found, numbers = read_model_text(model), eos_ids(model), Found(wanted), count()
    profile = shipped(MODEL_NAME)
    exact = profile.exact_context if profile is not None else 0
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--max-model-len", "4096", "--max-num-seqs", str(at_once))
        log = (keep or Path(folder)) / "vllm.log"
        async with vllm_server(model, served_name=MODEL_NAME, log=log, flags=flags, progress=print) as url:
            client = VllmClient(url, MODEL_NAME)
            client._http.timeout = httpx.Timeout(PATIENCE_S)  # a shared machine may be slow; nothing here is timed

            async def one() -> None:
                while found.tokens < wanted:
                    await conversation(client, text, ends, next(numbers), found, exact)

            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(one)
            await client.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--at-once", type=int, default=8, help="conversations at once")
    parser.add_argument("--log", type=Path, metavar="DIR", help="keep vLLM's log there")
    options = parser.parse_args()
    found = trio.run(measure, options.tokens, options.at_once, options.log)
    share = found.cached / max(found.prompt, 1)
    print(f"{found.tokens} tokens in {found.turns} turns; {found.hits} turns found an earlier one in the cache, "
          f"which had {share:.0%} of all prompt tokens")
    print(f"lost within the exact context: {found.lost} of {found.tokens - found.beyond} (outside a mask: "
          f"{found.outside}); worst: {found.worst:.6f} nats")
    print(f"lost beyond it: {found.lost_beyond} of {found.beyond}; the same without a cache: {found.cold} of "
          f"{found.lost + found.lost_beyond}")
    return 1 if found.lost or not found.hits else 0


if __name__ == "__main__":
    raise SystemExit(main())
