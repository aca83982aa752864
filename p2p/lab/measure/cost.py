"""Measures what a check costs compared with the answer that it checks.

Law: the same prompts on the same server, in turn: an answer, its check, and the bare prefill that no check can do
without; first one answer at a time, then sixteen together. Only ratios count, since the machine is shared.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.lab.attacks.base import collect
from p2p.lab.measure.plan import FREE
from p2p.text.model_text import ModelText
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.prompts import Prompt
from p2p.verification.statistics import ROW_TOP

PAIRS = 12  # answers that are checked one at a time
BATCH = 16  # answers that are made, and then checked, together


@dataclass(slots=True)
class _Cost:
    """Seconds, one entry per turn."""

    made: list[float] = field(default_factory=list)  # generating the answers
    checked: list[float] = field(default_factory=list)  # checking them
    bare: list[float] = field(default_factory=list)  # prefilling prompt and answer, and no more

    async def turn(self, engine: Engine, jobs: list[Job]) -> None:
        """Make the answers of `jobs` together, then check them together."""
        seconds, steps = await _timed_generate(engine, jobs)
        self.made.append(seconds)
        self.checked.append(await _timed_score(engine, jobs, steps))
        whole = [
            Job((*job.prompt_tokens, *(s.token for s in own)), 1, FREE, job.seed)
            for job, own in zip(jobs, steps, strict=True)
        ]
        self.bare.append((await _timed_generate(engine, whole))[0])

    def row(self, batch: int) -> dict[str, Any]:
        def median(over: list[float]) -> float:
            return round(statistics.median(a / b for a, b in zip(over, self.made, strict=True)), 3)

        return {
            "batch": batch, "generation, s": round(sum(self.made), 2), "checks, s": round(sum(self.checked), 2),
            "validator seconds per generated second (median)": median(self.checked),
            "of which the bare prefill": median(self.bare),
        }


async def run(engine: Engine, words: ModelText, prompts: tuple[Prompt, ...], say: Any) -> list[dict[str, Any]]:
    """Two rows, for answers one at a time and for BATCH together: seconds of generation and of checks, and a
    validator's seconds per generated second, with the share of the bare prefill in them."""
    long = [p for p in prompts if p.max_tokens >= 48][: BATCH * 3]
    jobs = [Job(words.prompt(one_message(p.text)), 64, FREE, n.to_bytes(32, "big")) for n, p in enumerate(long)]
    alone, together = _Cost(), _Cost()
    for job in jobs[:PAIRS]:
        await alone.turn(engine, [job])
    say(f"cost: {PAIRS} pairs one by one")
    for at in range(0, len(jobs), BATCH):
        await together.turn(engine, jobs[at : at + BATCH])
    return [alone.row(1), together.row(BATCH)]


async def _timed_generate(engine: Engine, jobs: list[Job]) -> tuple[float, list[list[TokenStep]]]:
    found: list[list[TokenStep]] = [[] for _ in jobs]

    async def one(at: int) -> None:
        found[at] = await collect(engine.generate(jobs[at]))

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for at in range(len(jobs)):
            nursery.start_soon(one, at)
    return time.perf_counter() - started, found


async def _timed_score(engine: Engine, jobs: list[Job], steps: list[list[TokenStep]]) -> float:
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for job, own in zip(jobs, steps, strict=True):
            nursery.start_soon(engine.score, job.prompt_tokens, [s.token for s in own], ROW_TOP)
    return time.perf_counter() - started
