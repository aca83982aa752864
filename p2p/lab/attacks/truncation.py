"""Stops half way and charges for what there is as if the limit had been reached."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import EXACT, Attack, Wrapped, collect
from p2p.verification.engine import Engine, Job, TokenStep


async def half(engine: Engine, job: Job) -> list[TokenStep]:
    """The first half of the answer, without an end: half of max_tokens, or half of what came when it ended earlier."""
    room = job.max_tokens - len(job.prefix)
    steps = await collect(engine.generate(replace(job, max_tokens=len(job.prefix) + max(room // 2, 1))))
    if steps and steps[-1].token in job.ends:
        steps = steps[: max(len(steps) // 2, 1)]
    return steps


class Truncated(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        for step in await half(self.inner, job):
            yield step


ATTACK = Attack(
    "truncation", "Stops half way and claims that the limit was reached.", EXACT, exact=True,
    needs="an answer of 2 tokens or more",
    wrap=Truncated,
)
