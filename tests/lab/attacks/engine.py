"""The toy model of testnet/simulated_engine.py as an Engine in this process.

FAKE: it proves what an attack says, and nothing about real weights.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np

from p2p.verification import tape
from p2p.verification.engine import Job, Row, TokenStep
from testnet.simulated_engine import EOS, VOCAB, Toy, text_of


class ToyEngine:
    def __init__(self, salt: int = 1) -> None:
        self.toy = Toy(salt)
        self.jobs: list[Job] = []

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        self.jobs.append(job)
        output = list(job.prefix)
        while len(output) < job.max_tokens:
            row = self.toy.logprobs([*job.prompt_tokens, *output])
            counts = tape.output_counts(output, np.arange(VOCAB))
            token = int(np.argmax(tape.scores(row, job.params, tape.gumbel_row(job.seed, len(output), VOCAB), counts)))
            best = tuple((int(t), float(row[t])) for t in np.argsort(-row)[:8])
            output.append(token)
            yield TokenStep(token, text_of(token), float(row[token]), best)
            if token == EOS:
                return

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        context, rows = list(prompt_tokens), []
        for token in output_tokens:
            row = self.toy.logprobs(context)
            rows.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:top], token]})
            context.append(token)
        return tuple(rows)

    async def health(self) -> bool:
        return True
