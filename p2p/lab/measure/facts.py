"""Turns answers and scores into facts per token, as a validator would have them.

Law: published numbers pass through the artifact's own quantisation, never around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from p2p.base.keys import digest
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import FinishReason, Params
from p2p.lab.attacks.base import best
from p2p.lab.measure.plan import HONEST, RELABELLED, VLLM, by_name
from p2p.lab.measure.space import Asked
from p2p.lab.measure.store import Answer, Measured
from p2p.verification.artifact import ARTIFACT_VERSION, CHOSEN_STEPS_PER_NAT, Header, build
from p2p.verification.calibration import Facts
from p2p.verification.engine import Row, TokenStep
from p2p.verification.prompts import load, split
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import CHOSEN, EXACT_NATS, answer_facts

AGAIN = "~"  # in an answer's id, between that of its prompt and the number of the draw
EDGE_QUANTILE, EDGE_SAFETY, EDGE_DEFAULT = 0.999, 1.5, 0.4
ROUNDING = 0.6 / CHOSEN_STEPS_PER_NAT  # a published number that differs by less differs by its own rounding
HEADER = Header(
    ARTIFACT_VERSION, bytes(32), "", bytes(32), "", "", "", bytes(32), bytes(32), 1, bytes(32), Params(), bytes(32),
    FinishReason.LENGTH,
)  # of no answer: only its parameters and its seed matter here


class Evidence:
    """Facts by case and validator's stack.

    A case is the name of a run, 'laundered_' and the name of a run, 'wrong_seed', or a name in RELABELLED. Facts are
    made once and kept.
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        # tokens of context up to which equal kernels are exact (decision 014); None: not found yet, nothing is left out
        self.exact_context: int | None = None
        self.edge = lru_cache(maxsize=None)(self._edge)  # (executor's stack, validator's) -> nats
        self._facts = lru_cache(maxsize=None)(self._make)
        self._answers = lru_cache(maxsize=None)(measured.answers)

    def has(self, case: str, validator: str) -> bool:
        """Whether everything that this case needs was measured."""
        run = self.run_of(case)
        if not self.measured.has_answers(run):
            return False
        needed = {validator} | ({by_name(run).stack} if case.startswith("laundered_") else set())
        return all(self.measured.has_rows(run, stack) for stack in needed)

    def is_generated(self, case: str) -> bool:
        """Whether real answers of this case are at hand."""
        return self.measured.has_answers(self.run_of(case))

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

    def find_exact_context(self) -> int:
        """Tokens of the longest context of an answer that is exact and shorter than any that is not.

        An answer is exact where no chosen token's number differs by more than ROUNDING. Kernels are believed no further
        than they were seen to be exact. Held-out answers are looked at too: a longer context would have honest tokens
        refused, a shorter one only makes more answers strangers', so this favours nobody.
        """
        exact, noisy = [0], [2**31]
        for run in HONEST:
            if run.stack != VLLM or not self.is_generated(run.name) or not self.has(run.name, VLLM):
                continue
            ids, facts = self._facts(run.name, VLLM)
            contexts = self._contexts(run.name)
            for prompt, start, length in zip(ids, facts.starts(), facts.lengths, strict=True):
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
        if case in RELABELLED:
            return RELABELLED[case][0]
        return case.removeprefix("laundered_")

    def asked(self, case: str) -> dict[str, Asked]:
        """What the validator reads in each request of a case, by prompt id."""
        run = by_name(self.run_of(case))
        if case in RELABELLED:
            return {a.prompt: Asked(RELABELLED[case][1]) for a in self._answers(run.name)}
        space = int(self.measured.noted("space").get("seed", 0))
        return {a.prompt: run.asked(space, a.prompt, a.prompt_tokens) for a in self._answers(run.name)}

    def _edge(self, executor: str, validator: str) -> float:
        """By how much the difference of two candidates may differ between an executor's numbers and a validator's,
        nats: EDGE_SAFETY times what was seen in all but one of a thousand pairs of neighbouring candidates, in honest
        answers to prompts of the calibration half. Equal kernels give equal numbers."""
        if executor == validator == VLLM:
            return EXACT_NATS
        calibration, apart = frozenset(p.id for p in split(load())[0]), list[float]()
        for run in HONEST:
            if run.stack == executor and self.is_generated(run.name) and self.has(run.name, validator):
                for answer, rows in zip(self._answers(run.name), self.measured.rows(run.name, validator), strict=True):
                    if answer.prompt in calibration:
                        apart += _apart(answer, rows)
        return EDGE_SAFETY * float(np.quantile(apart, EDGE_QUANTILE)) if apart else EDGE_DEFAULT

    def _make(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        run = by_name(self.run_of(case))
        answers = self.measured.answers(run.name)
        rows = self.measured.rows(run.name, validator)
        published = self.measured.rows(run.name, run.stack) if case.startswith("laundered_") else None
        ids, values, asked = [], [], self.asked(case)
        ends = frozenset(self.measured.noted("space").get("ends", ()))
        edge = self.edge(run.stack, validator)
        for at, (answer, own) in enumerate(zip(answers, rows, strict=True)):
            if not answer.steps:
                continue
            steps = laundered(answer, published[at]) if published else answer.steps
            seed = bytes.fromhex(answer.seed)
            if case == "wrong_seed":
                seed = digest(b"a seed of my own", seed)
            wanted = asked[answer.prompt]
            artifact = build(replace(HEADER, params=wanted.params, seed=seed), steps)
            sampling = sampling_as(wanted, ends)
            ids.append(answer.prompt)
            values.append(answer_facts(
                artifact.positions(), own, wanted.params, seed, sampling=sampling, edge=round(edge, 3)
            ))
        return tuple(ids), Facts(np.concatenate(values), tuple(map(len, values)))


def sampling_as(asked: Asked, ends: frozenset[int]) -> Sampling:
    """How an answer that was asked for in this way is sampled."""
    return Sampling(asked.params, ends, {token: milli / 1000 for token, milli in asked.bias})


def _apart(answer: Answer, rows: list[Row]) -> Iterator[float]:
    """|difference of differences| of the published candidates that are neighbours in rank, published against own."""
    for step, row in zip(answer.steps, rows, strict=True):
        pairs = [(published, row[token]) for token, published in step.top if token in row]
        for (one, own), (other, others_own) in pairwise(pairs):
            yield abs((one - other) - (own - others_own))


def laundered(answer: Answer, rows: list[Row]) -> tuple[TokenStep, ...]:
    """The answer's tokens with the numbers of `rows`: one row of {token: log-probability} for each token."""
    return tuple(
        TokenStep(step.token, "", row[step.token], best(row, TOP_RANKS))
        for step, row in zip(answer.steps, rows, strict=True)
    )


def base(id_: str) -> str:
    """The id of the prompt of an answer or a draw."""
    return id_.partition(AGAIN)[0]


def only(found: tuple[tuple[str, ...], Facts], wanted: frozenset[str]) -> Facts:
    """Facts of the answers to the prompts `wanted` alone: ids of prompts, or of single draws (redraw.py)."""
    ids, facts = found
    starts = facts.starts()
    keep = [at for at, prompt in enumerate(ids) if prompt in wanted or base(prompt) in wanted]
    parts = [facts.values[starts[at] : starts[at] + facts.lengths[at]] for at in keep]
    return Facts(np.concatenate(parts) if parts else facts.values[:0], tuple(facts.lengths[at] for at in keep))
