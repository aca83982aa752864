"""Follows the grammar half way, then ends, and invents numbers under which the end would have won.

It spares half of the work, and the answer is no whole value.
"""

from collections.abc import AsyncIterator

from p2p.lab.attacks.base import EXACT, Attack, Wrapped
from p2p.lab.attacks.invent import winning
from p2p.lab.attacks.truncation import half
from p2p.verification.engine import Job, TokenStep

SURE = -0.05  # the invented log-probability of the end


class GrammarBroken(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        if job.grammar is None:
            async for step in self.inner.generate(job):
                yield step
            return
        steps = await half(self.inner, job)
        for step in steps[:-1]:
            yield step
        at = len(job.begun) + len(job.prefix) + len(steps) - 1
        others = [(token, value - 4.0) for token, value in steps[-1].top if token not in job.ends]
        yield winning(TokenStep(min(job.ends), "", SURE), job, at, SURE, others)


ATTACK = Attack(
    "grammar_broken", "Ends an answer where its grammar may not end, with numbers to match.", EXACT, exact=True,
    needs="a grammar that takes two tokens or more", wrap=GrammarBroken,
)
