"""A cheap model's text with invented numbers, which save the honest prefill.

The numbers look like a confident model's and pass stage 0.
"""

from collections.abc import AsyncIterator

from p2p.lab.attacks.base import DISTANCE, Attack, Wrapped
from p2p.lab.attacks.invent import winning
from p2p.verification.engine import Job, TokenStep

CHOSEN = -0.25  # nats: near the mean of what an instruct model shows
NEXT = -2.5
FALL = 0.6  # from each candidate to the next


class Fabricated(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        position = len(job.prefix)
        async for step in self.inner.generate(job):
            others = [token for token, _ in step.top if token != step.token]
            yield winning(
                step, job, position, CHOSEN, [(token, NEXT - FALL * rank) for rank, token in enumerate(others)]
            )
            position += 1


ATTACK = Attack(
    "fabricated_logprobs", "Serves a smaller model's text with invented numbers.", DISTANCE, weights="smaller_model",
    wrap=Fabricated
)
