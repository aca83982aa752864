"""Adds tokens after the end, or beyond max_tokens, to charge for more."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import EXACT, Attack, Wrapped
from p2p.verification.engine import Job, TokenStep

ADDED = 8


class Padded(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        said = list(job.prefix)
        async for step in self.inner.generate(job):
            said.append(step.token)
            yield step
        wanted = len(said) + ADDED
        while len(said) < wanted:
            before = len(said)
            async for step in self.inner.generate(replace(job, max_tokens=wanted, prefix=tuple(said))):
                said.append(step.token)
                yield step
            if len(said) == before:
                return


ATTACK = Attack("padding", "Adds tokens after the end of the answer.", EXACT, exact=True, wrap=Padded)
