"""Serves an old answer to the same prompt again, which costs no work.

Its numbers are honest, but its seed was another inference's.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.base.keys import digest
from p2p.base.types import Params
from p2p.lab.attacks.base import EXACT, Attack, Wrapped, collect
from p2p.verification.engine import Engine, Job, Tokens, TokenStep

REMEMBERED = 256
Question = tuple[Tokens, int, Params]


class Replayed(Wrapped):
    """Keeps answers by (prompt, max_tokens, parameters). Where there is no old one it makes one, under an earlier
    seed.
    """

    def __init__(self, inner: Engine, honest: Engine) -> None:
        super().__init__(inner, honest)
        self._old: dict[Question, list[TokenStep]] = {}

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        asked = (job.prompt_tokens, job.max_tokens, job.params)
        if asked not in self._old:
            while len(self._old) >= REMEMBERED:
                del self._old[next(iter(self._old))]
            earlier = replace(job, seed=digest(b"an earlier inference", job.seed), prefix=())
            self._old[asked] = await collect(self.inner.generate(earlier))
        for step in self._old[asked][len(job.prefix) :]:
            yield step


ATTACK = Attack(
    "replayed_answer", "Serves an old answer to the same prompt, sampled under another seed.", EXACT, exact=True,
    needs="temperature > 0", wrap=Replayed,
)
