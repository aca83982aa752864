"""Turns answers and scores into facts per token, as a validator would have them.

Law: published numbers pass through the artifact's own quantisation, never around it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from msgspec.structs import replace

from p2p.base.keys import digest
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import FinishReason, Params
from p2p.lab.attacks.base import best
from p2p.lab.measure.plan import HONEST, VLLM, by_name
from p2p.lab.measure.store import Answer, Measured
from p2p.verification.artifact import ARTIFACT_VERSION, CHOSEN_STEPS_PER_NAT, Header, build
from p2p.verification.calibration import Facts
from p2p.verification.engine import Row, TokenStep
from p2p.verification.statistics import CHOSEN, answer_facts

ROUNDING = 0.6 / CHOSEN_STEPS_PER_NAT  # a published number that differs by less differs by its own rounding
HEADER = Header(
    ARTIFACT_VERSION, bytes(32), "", bytes(32), "", "", "", bytes(32), bytes(32), 1, bytes(32), Params(), bytes(32),
    FinishReason.LENGTH,
)  # of no answer: only its parameters and its seed matter here


class Evidence:
    """Facts by case and validator's stack.

    A case is the name of a run, 'laundered_' and the name of a run, or 'wrong_seed'. Facts are made once and kept.
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        # tokens of context up to which equal kernels are exact (decision 014); None: not found yet, nothing is left out
        self.exact_context: int | None = None
        self._facts = lru_cache(maxsize=None)(self._make)
        self._answers = lru_cache(maxsize=None)(measured.answers)

    def has(self, case: str, validator: str) -> bool:
        """Whether everything that this case needs was measured."""
        run = self.run_of(case)
        if not self.measured.has_answers(run):
            return False
        needed = {validator} | ({by_name(run).stack} if case.startswith("laundered_") else set())
        return all(self.measured.has_rows(run, stack) for stack in needed)

    def facts(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        """(prompt ids, facts), one entry for each answer that has tokens.

        Where both stacks run equal kernels, only the answers whose context these kernels are exact for.
        """
        found = self._facts(case, validator)
        if self.exact_context is None or not self._equal(case, validator):
            return found
        wanted = frozenset(prompt for prompt, tokens in self._contexts(case).items() if tokens <= self.exact_context)
        return tuple(prompt for prompt in found[0] if prompt in wanted), only(found, wanted)

    def longer(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        """The answers that `facts` leaves out."""
        found = self._facts(case, validator)
        wanted = frozenset(found[0]) - frozenset(self.facts(case, validator)[0])
        return tuple(prompt for prompt in found[0] if prompt in wanted), only(found, wanted)

    def find_exact_context(self, calibration: frozenset[str]) -> int:
        """Tokens of the longest context of a calibration answer that is exact and shorter than any that is not.

        An answer is exact where no chosen token's number differs by more than ROUNDING. Kernels are believed no further
        than they were seen to be exact.
        """
        exact, noisy = [0], [2**31]
        for run in HONEST:
            if run.stack != VLLM or not self.has(run.name, VLLM):
                continue
            ids, facts = self._facts(run.name, VLLM)
            contexts = self._contexts(run.name)
            for prompt, start, length in zip(ids, facts.starts(), facts.lengths, strict=True):
                if prompt in calibration:
                    off = np.flatnonzero(facts.values[start : start + length, CHOSEN] > ROUNDING)
                    begin = contexts[prompt] - length
                    (noisy if off.size else exact).append(begin + int(off[0]) if off.size else contexts[prompt])
        return max(tokens for tokens in exact if tokens < min(noisy))

    def _equal(self, case: str, validator: str) -> bool:
        """Whether the validator runs the kernels that made the answers."""
        return by_name(self.run_of(case)).stack == validator == VLLM

    def _contexts(self, case: str) -> dict[str, int]:
        """Tokens of prompt and answer, by prompt id."""
        return {a.prompt: len(a.prompt_tokens) + len(a.steps) for a in self._answers(self.run_of(case))}

    def run_of(self, case: str) -> str:
        """Name of the run whose answers a case looks at."""
        if case == "wrong_seed":
            return "honest_b16" if self.measured.has_answers("honest_b16") else "honest_torch_b16"
        return case.removeprefix("laundered_")

    def _make(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        run = by_name(self.run_of(case))
        answers = self.measured.answers(run.name)
        rows = self.measured.rows(run.name, validator)
        published = self.measured.rows(run.name, run.stack) if case.startswith("laundered_") else None
        ids, values = [], []
        for at, (answer, own) in enumerate(zip(answers, rows, strict=True)):
            if not answer.steps:
                continue
            steps = laundered(answer, published[at]) if published else answer.steps
            seed = bytes.fromhex(answer.seed)
            if case == "wrong_seed":
                seed = digest(b"a seed of my own", seed)
            artifact = build(replace(HEADER, params=run.params, seed=seed), steps)
            ids.append(answer.prompt)
            values.append(answer_facts(artifact.positions(), own, run.params, seed))
        return tuple(ids), Facts(np.concatenate(values), tuple(map(len, values)))


def laundered(answer: Answer, rows: list[Row]) -> tuple[TokenStep, ...]:
    """The answer's tokens with the numbers of `rows`: one row of {token: log-probability} for each token."""
    return tuple(
        TokenStep(step.token, "", row[step.token], best(row, TOP_RANKS))
        for step, row in zip(answer.steps, rows, strict=True)
    )


def only(found: tuple[tuple[str, ...], Facts], wanted: frozenset[str]) -> Facts:
    """Facts of the answers to the prompts `wanted` (ids) alone."""
    ids, facts = found
    starts = facts.starts()
    keep = [at for at, prompt in enumerate(ids) if prompt in wanted]
    parts = [facts.values[starts[at] : starts[at] + facts.lengths[at]] for at in keep]
    return Facts(np.concatenate(parts) if parts else facts.values[:0], tuple(facts.lengths[at] for at in keep))
