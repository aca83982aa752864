"""Launders, and publishes the chosen token as the only candidate, so that none is there to beat it under the tape."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import EXACT, Attack
from p2p.lab.attacks.launder import Laundered
from p2p.verification.engine import Job, TokenStep


class Repeated(Laundered):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        async for step in super().generate(job):
            yield replace(step, top=((step.token, step.logprob),))


ATTACK = Attack(
    "repeated_candidates", "Launders a smaller model's text and publishes no candidate but the chosen token.", EXACT,
    weights="smaller_model",
    exact=True, wrap=Repeated,
)
