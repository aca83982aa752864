"""Honest for the first tokens, then laundered int4: checks that look at beginnings see nothing."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import REPLAY, Attack, Wrapped, collect
from p2p.lab.attacks.launder import Laundered
from p2p.verification.engine import Engine, Job, TokenStep

HONEST_TOKENS = 24


class Late(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        until = min(len(job.prefix) + HONEST_TOKENS, job.max_tokens)
        first = await collect(self.honest.generate(replace(job, max_tokens=until)))
        for step in first:
            yield step
        prefix = (*job.prefix, *(step.token for step in first))
        if len(prefix) < job.max_tokens and prefix[-1] not in job.ends:
            async for step in self.inner.generate(replace(job, prefix=prefix)):
                yield step


def wrap(inner: Engine, honest: Engine) -> Engine:
    return Laundered(Late(inner, honest), honest)


ATTACK = Attack(
    "late_switch", f"Honest for {HONEST_TOKENS} tokens, then laundered int4.", REPLAY, weights="int4", wrap=wrap,
    needs=f"an answer of more than {HONEST_TOKENS} tokens",
)
