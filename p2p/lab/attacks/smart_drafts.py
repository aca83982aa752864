"""A cheap model writes, and the right one is asked only where the tape is close.

The tape's noise is public, so the cheat knows by how much its draft wins. Where that is TAU nats or more the right
model would most likely have chosen the same token; else one pass of the right model chooses. The numbers are those of
one honest prefill, touched up where a draft lost after all. `smart_drafts:0.2` is the attack with a TAU of 0.2 nats.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from p2p.lab.attacks.base import REPLAY, Attack, Wrapped, collect
from p2p.lab.attacks.touched_up import TouchedUp
from p2p.verification import tape
from p2p.verification.engine import Engine, Job, TokenStep

TAU = 0.1  # nats


def lead(step: TokenStep, job: Job, position: int) -> float:
    """By how much the step's token wins the tape against the other candidates that its engine names, in nats."""
    heat = job.params.temperature_milli / 1000.0
    others = [pair for pair in step.top if pair[0] != step.token]
    noise = tape.gumbel_at(job.seed, position, [step.token, *(token for token, _ in others)]) * heat
    best = max((value + float(g) for (_, value), g in zip(others, noise[1:], strict=True)), default=float("-inf"))
    return step.logprob + float(noise[0]) - best


class Drafts(Wrapped):
    """Tokens of `inner` where they lead by `tau`, of `honest` elsewhere."""

    tau = TAU

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        prefix, differs = job.prefix, True
        while differs and len(prefix) < job.max_tokens:
            differs = False
            steps = self.inner.generate(replace(job, prefix=prefix))
            async with aclosing(steps) as drafts:  # type: ignore[type-var]
                async for draft in drafts:
                    step = draft
                    if lead(draft, job, len(job.begun) + len(prefix)) < self.tau:
                        once = replace(job, prefix=prefix, max_tokens=len(prefix) + 1)
                        step = (await collect(self.honest.generate(once)))[0]
                    prefix, differs = (*prefix, step.token), step.token != draft.token
                    yield step
                    if differs:
                        break
            if prefix and prefix[-1] in job.ends:
                return


def tuned(tau: float) -> Attack:
    """The attack with another TAU, in nats."""

    def wrap(inner: Engine, honest: Engine) -> Engine:
        drafts = Drafts(inner, honest)
        drafts.tau = tau
        return TouchedUp(drafts, honest)

    return Attack(
        "smart_drafts", f"int8 drafts, kept where they lead the tape by {tau:g} nats, else one right pass; honest "
        "numbers, touched up.", REPLAY, weights="int8", wrap=wrap,
    )


ATTACK = tuned(TAU)
