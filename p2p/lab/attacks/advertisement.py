"""Some tokens of its own in the middle of an honest answer: an advertisement, with the right model's numbers."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import REPLAY, Attack, Wrapped, collect
from p2p.lab.attacks.launder import Laundered
from p2p.verification.engine import Engine, Job, TokenStep

INSERTED = tuple(range(320, 328))  # some tokens of any model's vocabulary
AFTER = 8  # honest tokens before it


class Inserts(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        start = len(job.prefix)
        until = min(start + AFTER, job.max_tokens)
        first = await collect(self.honest.generate(replace(job, max_tokens=until)))
        for step in first:
            yield step
        if len(first) < AFTER or first[-1].token in job.ends:
            return
        room = job.max_tokens - start - len(first)
        mine = INSERTED[: max(room - 1, 0)]
        for token in mine:
            yield TokenStep(token, "", 0.0)
        prefix = (*job.prefix, *(step.token for step in first), *mine)
        async for step in self.honest.generate(replace(job, prefix=prefix)):
            yield step


def wrap(inner: Engine, honest: Engine) -> Engine:
    return Laundered(Inserts(inner, honest), honest)


ATTACK = Attack(
    "advertisement", f"Inserts {len(INSERTED)} tokens of its own into an honest answer.", REPLAY, wrap=wrap,
    needs=f"an answer of more than {AFTER} tokens",
)
