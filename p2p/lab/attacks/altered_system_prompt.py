"""Asks an honest engine another question: hidden tokens stand before what the client wrote."""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.lab.attacks.base import DISTANCE, Attack, Wrapped
from p2p.verification.engine import Job, TokenStep

HIDDEN = tuple(range(300, 316))  # some tokens of any model's vocabulary


class HiddenInstruction(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        async for step in self.inner.generate(replace(job, prompt_tokens=(*HIDDEN, *job.prompt_tokens))):
            yield step


ATTACK = Attack(
    "altered_system_prompt", "Puts a hidden instruction before the client's prompt.", DISTANCE, wrap=HiddenInstruction
)
