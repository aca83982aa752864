"""Names token ids that the model does not have.

Nobody can score such an answer, so nobody could show by running the model that it is wrong.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from p2p.base.serving_limits import MAX_VOCABULARY
from p2p.lab.attacks.base import EXACT, Attack, Wrapped
from p2p.verification.engine import Job, TokenStep

EVERY = 4  # tokens


class OutOfVocabulary(Wrapped):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        at = len(job.prefix)
        async for step in self.inner.generate(job):
            yield replace(step, token=MAX_VOCABULARY - 1 - at) if at % EVERY == EVERY - 1 else step
            at += 1


ATTACK = Attack(
    "out_of_vocabulary", "Names token ids beyond the model's vocabulary, which nobody can score.", EXACT, exact=True,
    wrap=OutOfVocabulary,
)
