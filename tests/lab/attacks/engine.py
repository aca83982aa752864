"""The toy model of testnet/simulated_engine.py as an Engine in this process.

FAKE: it proves what an attack says, and nothing about real weights.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np

from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.verification import tape
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.marks import MARKS, MarkedRow, marks
from p2p.verification.sampling import Sampling, sampling_of
from testnet.simulated_engine import EOS, VOCAB, Toy, text_of, tokenizer_json


def rules_of(job: Job) -> Sampling:
    """How an engine samples a job, and a validator replays it."""
    ends = frozenset(job.ends) or frozenset({EOS})
    if job.grammar is None:
        return sampling_of(job, ends)
    tokens = GrammarTokenizer.from_json(tokenizer_json().encode(), ends, VOCAB)
    return sampling_of(job, ends, compile_grammar(job.grammar, tokens).begin)


class ToyEngine:
    def __init__(self, salt: int = 1) -> None:
        self.toy = Toy(salt)
        self.jobs: list[Job] = []

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        self.jobs.append(job)
        state = rules_of(job).begin(job.prefix)
        for _ in range(len(job.prefix), job.max_tokens):
            row = self.toy.logprobs([*job.prompt_tokens, *state.output])
            noise = tape.gumbel_row(job.seed, len(state.output), VOCAB)
            token = int(np.argmax(state.scores(row, np.arange(VOCAB), noise)))
            best = tuple((int(t), float(row[t])) for t in np.argsort(-row)[:8])
            state.accept(token)
            yield TokenStep(token, text_of(token), float(row[token]), best)
            if token in state.sampling.ends:
                return

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        context, rows = list(prompt_tokens), []
        for token in output_tokens:
            row = self.toy.logprobs(context)
            rows.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:top], token]})
            context.append(token)
        return tuple(rows)

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        state, context, rows = rules_of(job).begin(), [*job.prompt_tokens, *job.begun], []
        for token in job.prefix:
            row = self.toy.logprobs(context)
            winner, least = marks(row, state, job.seed)
            ids = [*np.argsort(-row)[: top - MARKS].tolist(), token, winner, least]
            rows.append(MarkedRow({int(t): float(row[t]) for t in ids}, winner, least))
            context.append(token)
            state.accept(token)
        return tuple(rows)

    async def health(self) -> bool:
        return True
