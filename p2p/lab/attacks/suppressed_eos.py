"""Never ends before max_tokens, to charge for more: where the end token wins, it takes the best other token."""

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np

from p2p.base.serving_limits import TOP_RANKS
from p2p.lab.attacks.base import EXACT, Attack, Wrapped, best
from p2p.verification import tape
from p2p.verification.engine import Job, TokenStep

SEEN = 32  # candidates looked at for the best other token


class EndMasked(Wrapped):
    """As an engine that masks the end tokens, made of any engine: at an end, replace it and go on from there."""

    hide = False

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        ends = frozenset(job.ends)
        so_far = list(job.prefix)
        while len(so_far) < job.max_tokens:
            before = len(so_far)
            async for step in self.inner.generate(replace(job, prefix=tuple(so_far))):
                said = await self._instead(job, so_far, step, ends) if step.token in ends else step
                so_far.append(said.token)
                yield said
            if len(so_far) == before:
                return

    async def _instead(self, job: Job, so_far: list[int], end: TokenStep, ends: frozenset[int]) -> TokenStep:
        row = (await self.inner.score(job.prompt_tokens, [*so_far, end.token], SEEN))[-1]
        ids = [token for token in row if token not in ends]
        noise = tape.gumbel_at(job.seed, len(so_far), ids) if job.params.temperature_milli else np.zeros(len(ids))
        counts = np.array([so_far.count(token) for token in ids], dtype=np.float64)
        values = tape.scores(np.array([row[token] for token in ids]), job.params, noise, counts)
        token = ids[int(np.argmax(values))]
        top = best({i: row[i] for i in ids}, TOP_RANKS) if self.hide else end.top
        return TokenStep(token, "", row[token], top)


ATTACK = Attack(
    "suppressed_eos", "Masks end-of-sequence and continues to the limit.", EXACT, exact=True,
    needs="an answer that ends before max_tokens", wrap=EndMasked,
)
