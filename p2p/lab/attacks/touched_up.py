"""Laundering that knows the checks: honest numbers, changed as little as stage 0 needs to find the token winning.

Law: shared by the touched_up_* attacks.

Only a validator's own prefill sees it, because the margin is computed from the validator's numbers, which the host
cannot touch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.invent import winning
from p2p.lab.attacks.launder import Laundered
from p2p.verification.engine import Job, TokenStep


class TouchedUp(Laundered):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        position = len(job.prefix)
        async for step in super().generate(job):
            yield winning(step, job, position, step.logprob, step.top)
            position += 1


def touched_up(base: Attack) -> Attack:
    """The touched-up laundered variant of an attack on the weights."""
    text = f"{base.summary[:-1]}; publishes one honest prefill's numbers, touched up where stage 0 would refuse them."
    return Attack(
        f"touched_up_{base.name}", text, REPLAY, weights=base.weights, wrap=lambda inner,
        honest: TouchedUp(inner, honest)
    )
