"""Stops half way with an end token that the model did not choose, and invents numbers under which it would have.

One position lies and all others are honest, so a mean over a long answer hardly moves: the end must be checked by
itself.
"""

from collections.abc import AsyncIterator

from p2p.lab.attacks.base import REPLAY, Attack, Wrapped
from p2p.lab.attacks.invent import winning
from p2p.lab.attacks.truncation import half
from p2p.verification.engine import Job, TokenStep

SURE = -0.05  # the invented log-probability of the end


class ForgedStop(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        steps = await half(self.inner, job)
        for step in steps[:-1]:
            yield step
        end = TokenStep(min(job.ends), "", SURE)
        yield winning(
            end, job, len(job.prefix) + len(steps) - 1, SURE, [(token, value - 4.0) for token, value in steps[-1].top]
        )


ATTACK = Attack(
    "forged_stop", "Stops half way with a forged end-of-sequence token and numbers to match.", REPLAY, wrap=ForgedStop
)
