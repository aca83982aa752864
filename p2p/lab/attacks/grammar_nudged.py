"""Changes a value inside the grammar: at one place it takes another allowed token than the tape's, and goes on from it.

The answer is valid and all its numbers are the model's own, so only the tape tells.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.base.body import BIAS_MILLI
from p2p.lab.attacks.base import REPLAY, Attack, Wrapped, collect
from p2p.verification.engine import Job, TokenStep


class GrammarNudged(Wrapped):
    """`place` of the tokens come as they should: a value begins after some."""

    place = 0.3

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        steps = await collect(self.inner.generate(job))
        nudged = None if job.grammar is None else await self._nudged(job, steps)
        for step in steps if nudged is None else nudged:
            yield step

    async def _nudged(self, job: Job, steps: list[TokenStep]) -> list[TokenStep] | None:
        """None where at every place only one token is allowed."""
        for at in range(int(self.place * len(steps)), len(steps)):
            before = (*job.prefix, *(step.token for step in steps[:at]))
            other = await self._other(replace(job, prefix=before, max_tokens=len(before) + 1), steps[at].token)
            if other is not None:
                rest = replace(job, prefix=(*before, other.token))
                ended = other.token in job.ends
                return [*steps[:at], other, *([] if ended else await collect(self.inner.generate(rest)))]
        return None

    async def _other(self, job: Job, winner: int) -> TokenStep | None:
        """What the tape chooses where its winner is banned."""
        bias = dict(job.bias) | {winner: -BIAS_MILLI}
        found = await collect(self.inner.generate(replace(job, bias=tuple(sorted(bias.items())))))
        return found[0] if found and found[0].token != winner else None


ATTACK = Attack(
    "grammar_nudged", "Takes another token inside the grammar at one place, and goes on from there.", REPLAY,
    needs="a grammar that leaves a choice", wrap=GrammarNudged,
)
