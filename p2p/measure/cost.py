"""What a check costs beside what it checks. Law: the same prompts, the same server, in turn: one answer alone then its check alone; sixteen
together then their checks together. Ratios, since the machine is shared."""

from __future__ import annotations

import statistics
import time
from typing import Any

import trio

from p2p.attacks.base import collect
from p2p.inference.engine import Engine, Job, TokenStep
from p2p.measure.plan import FREE
from p2p.verification.prompts import Prompt
from p2p.verification.statistics import ROW_TOP

PAIRS, BATCH = 12, 16


async def run(engine: Engine, prompts: tuple[Prompt, ...], say: Any) -> list[dict[str, Any]]:
    """Rows: batch, seconds of generation and of checks, validator seconds per generated second."""
    long = [p for p in prompts if p.max_tokens >= 48][: BATCH * 3]
    jobs = [Job(await engine.tokenize_chat(p.text), 64, FREE, n.to_bytes(32, "big")) for n, p in enumerate(long)]
    made, checked, ratios = 0.0, 0.0, []
    for job in jobs[:PAIRS]:
        seconds, steps = await _timed_generate(engine, [job])
        check = await _timed_score(engine, [job], steps)
        made, checked = made + seconds, checked + check
        ratios.append(check / seconds)
    say(f"cost: {PAIRS} pairs one by one")
    rows = [_row(1, made, checked, statistics.median(ratios))]
    made, checked, ratios = 0.0, 0.0, []
    for at in range(0, len(jobs), BATCH):
        part = jobs[at : at + BATCH]
        seconds, steps = await _timed_generate(engine, part)
        check = await _timed_score(engine, part, steps)
        made, checked = made + seconds, checked + check
        ratios.append(check / seconds)
    return [*rows, _row(BATCH, made, checked, statistics.median(ratios))]


def _row(batch: int, made: float, checked: float, ratio: float) -> dict[str, Any]:
    return {
        "batch": batch, "generation, s": round(made, 2), "checks, s": round(checked, 2),
        "validator seconds per generated second (median)": round(ratio, 3),
    }


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
