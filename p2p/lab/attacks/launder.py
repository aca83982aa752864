"""Laundering: the text of a cheap engine with the numbers of one honest prefill.

Law: shared by the laundered_* attacks; no number of the cheap engine is published.

It passes every check that only compares published log-probabilities with a validator's: they are the right model's, for
this text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from p2p.base.serving_limits import TOP_RANKS
from p2p.lab.attacks.base import REPLAY, Attack, Wrapped, best, collect
from p2p.verification.engine import Engine, Job, Row, TokenStep


class Laundered(Wrapped):
    """All tokens from `inner` first, then one prefill of them on `honest`."""

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        steps = await collect(self.inner.generate(job))
        if not steps:
            return
        output = (*job.prefix, *(step.token for step in steps))
        rows = await self.honest.score(job.prompt_tokens, output, TOP_RANKS)
        for step, row in zip(steps, rows[len(job.prefix) :], strict=True):
            yield TokenStep(step.token, step.text, row[step.token], best(row, TOP_RANKS))

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        return await self.honest.score(prompt_tokens, output_tokens, top)

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        return await self.honest.replay(job, top)


def laundered(base: Attack) -> Attack:
    """The laundered variant of an attack that changes weights, engine or what the engine is asked."""

    def wrap(inner: Engine, honest: Engine) -> Engine:
        return Laundered(base.wrap(inner, honest), honest)

    return Attack(
        f"laundered_{base.name}", f"{base.summary[:-1]}; publishes the numbers of one honest prefill of that text.",
        REPLAY,
        weights=base.weights, needs=base.needs, wrap=wrap, vllm_flags=base.vllm_flags, torch_options=base.torch_options,
    )
