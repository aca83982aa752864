"""Measures how well a profile tells cheats from honest hosts.

Law: a profile is judged on prompts that it was not fitted on, and every rate has an interval.

Detection at N tokens is the share of resampled answers of N tokens whose log-likelihood ratio is above the profile's
threshold for N. The 95 % interval comes from resampling the answers behind it (bootstrap by sequence).
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2p.base.genesis import CheckRules
from p2p.base.types import Params
from p2p.lab.measure.facts import base, only
from p2p.lab.measure.plan import (
    FITTED,
    HONEST,
    LAUNDERED,
    MIRRORED,
    MORE,
    RELABELLED,
    RUNS,
    SPACE,
    TORCH,
    VLLM,
    Run,
    by_name,
)
from p2p.lab.measure.redraw import Redrawn
from p2p.lab.measure.space import Asked
from p2p.verification.calibration import Facts, Resampler, fit, pool, upper_bound
from p2p.verification.check import FALSE_ALARM_PPM, CheckResult, exact_rule, weigh
from p2p.verification.profile import Noise
from p2p.verification.statistics import EXCESS, LEAD, Floats, beyond_rounding

PART = "space: "  # begins the names of regimes that are parts of the clients' space
# real answers to the clients' space, of the prompts that are wanted, beside which draws (redraw.py) are not needed
ENOUGH = 200
LIMIT_RUN = "honest_long"  # it looks for the context beyond which equal kernels are not exact
LEAST_OF_STRATUM = 20  # answers, of a part of the clients' space that is fitted by itself
STRATA: dict[str, Callable[[Asked], bool]] = {
    "all": lambda asked: True,
    "temperature 1.3 to 2": lambda asked: asked.params.temperature_milli >= 1300,
    "temperature 0 to 0.5": lambda asked: asked.params.temperature_milli <= 500,
    "a mask": lambda asked: masked(asked.params),
    "penalties or biases": lambda asked: moves(asked),
    "a mask, and penalties or biases": lambda asked: masked(asked.params) and moves(asked),
    "negative penalties": lambda asked: min(asked.params.presence_milli, asked.params.frequency_milli) < 0,
    "repetition factor": lambda asked: asked.params.repetition_milli != 1000,
}
Wanted = Callable[[Run, str, Asked], bool]  # (run, an answer's prompt, how it was asked for)
LENGTHS = (4, 8, 16, 32, 48, 64, 96, 128, 200, 256, 300, 512, 1000, 1500, 2048, 4096)
OUTER, INNER = 40, 500  # resamplings behind an interval; at most so many answers in each
STACKS = (VLLM, TORCH)


def masked(params: Params) -> bool:
    """Whether a mask decides anything."""
    return bool(params.temperature_milli and (params.top_k or params.min_p_milli or params.top_p_milli < 1000))


def moves(asked: Asked) -> bool:
    """Whether penalties, a repetition factor or biases move tokens."""
    params = asked.params
    return bool(params.presence_milli or params.frequency_milli or params.repetition_milli != 1000 or asked.bias)


@dataclass(frozen=True, slots=True)
class Effort:
    """How many resampled answers stand behind a figure."""

    rate: int  # behind one detection rate
    fit: int  # behind one threshold of the profile: at least ten times the inverse of the rarest false-alarm rate


FULL = Effort(20_000, 40_000)
BRIEF = Effort(2000, 6000)  # where a machine is busy
TINY = Effort(1000, 4000)  # for a check of the whole way: a second of work instead of half a minute


@dataclass(frozen=True, slots=True)
class Curve:
    """Detection of one case by one pair of stacks, by length of the answer."""

    case: str
    executor: str  # stack that answered
    validator: str  # stack that checked
    tokens: int  # held-out tokens behind the curve
    answers: int  # held-out answers behind it
    rates: tuple[float, ...]  # one for each of LENGTHS
    low: tuple[float, ...]  # lower ends of the 95 % intervals
    high: tuple[float, ...]  # upper ends

    def needed(self, rate: float) -> int | None:
        """The shortest of LENGTHS from which on detection is at least `rate`; None where there is none."""
        good = None
        for length, found in zip(reversed(LENGTHS), reversed(self.rates), strict=True):
            if found < rate:
                break
            good = length
        return good


@dataclass(frozen=True, slots=True)
class Losses:
    """Honest tokens that the exact rule looked at."""

    answers: int
    tokens: int
    lost: int  # by more than rounding, or outside a mask by more
    worst: float  # nats; the largest loss, rounding included

    @property
    def at_most_ppm(self) -> int:
        """Of a million tokens, how many are lost at most (95 %)."""
        return math.ceil(1e6 * upper_bound(self.lost, self.tokens))


@dataclass(slots=True)
class Evaluation:
    """Fits the profiles of all pairs of stacks (`fit`), then judges every case with them (`run`)."""

    evidence: Redrawn
    calibration: frozenset[str]  # ids of the prompts that profiles are fitted on
    heldout: frozenset[str]  # ids of the prompts that they are judged on
    seed: int = 20261124  # of the resampling
    effort: Effort = FULL
    # noise by pair, for pairs of which no honest answers were measured: of an earlier profile
    kept: dict[str, Noise] = field(default_factory=dict)
    kept_context: int = 0  # its exact_context
    kept_tolerance: int = 0  # its reveal_tolerance_milli
    profiles: dict[str, Noise] = field(default_factory=dict)  # by "EXECUTOR>VALIDATOR"
    curves: list[Curve] = field(default_factory=list)

    def regimes(self, executor: str, validator: str, wanted: frozenset[str]) -> dict[str, Facts]:
        """Facts of the honest runs of a pair of stacks, by run, for the prompts `wanted`; and of parts of the clients'
        space (`strata`), for a client may stay in one of them."""
        runs = [
            r for r in HONEST if r.stack == executor and not r.drawn and self.evidence.has(r.name, validator)
        ] + self._of_space(executor, validator, wanted)
        found = {r.name: only(self.evidence.facts(r.name, validator), wanted) for r in runs}
        parts = {f"{PART}{name}": facts for name, facts in self.strata(executor, validator, wanted).items()
                 if len(facts.lengths) >= LEAST_OF_STRATUM}
        # a sparse run may have none of `wanted`
        return {name: facts for name, facts in {**found, **parts}.items() if facts.lengths}

    def strata(self, executor: str, validator: str, wanted: frozenset[str]) -> dict[str, Facts]:
        """Facts of the honest answers whose parameters were drawn from the clients' space, by parts of that space,
        which overlap."""
        runs = self._of_space(executor, validator, wanted)
        found = dict[str, Facts]()
        for name, belongs in STRATA.items():
            pieces = []
            for run in runs:
                asked = self.evidence.asked(run.name)
                part = frozenset(id_ for id_, one in asked.items() if base(id_) in wanted and belongs(one))
                pieces.append(only(self.evidence.facts(run.name, validator), part))
            if pieces:
                found[name] = pool(pieces)
        return found

    def _of_space(self, executor: str, validator: str, wanted: frozenset[str]) -> list[Run]:
        """Honest runs whose parameters were drawn: those at real answers to the space alone, where there are enough."""
        runs = [r for r in SPACE if r.stack == executor and self.evidence.has(r.name, validator)]
        real = [r for r in runs if self._is_real(r)]
        answers = sum(sum(base(id_) in wanted for id_ in self.evidence.facts(r.name, validator)[0]) for r in real)
        return real if answers >= ENOUGH else runs

    def alternatives(self, executor: str, validator: str) -> dict[str, Facts]:
        """Facts of the cheats that a pair's profile is fitted with; a stack without its own run borrows the other's."""
        found = {"wrong_seed": "wrong_seed"}
        for name in (*FITTED, *(["fp8_kv"] if executor == TORCH else [])):
            own = f"{name}_torch" if executor == TORCH and self.evidence.has(f"{name}_torch", validator) else name
            found[name] = own
            if name in LAUNDERED:
                found[f"laundered_{name}"] = f"laundered_{own}"
        facts = {
            name: only(self.evidence.facts(case, validator), self.calibration)
            for name, case in found.items() if self.evidence.has(case, validator)
        }
        return {name: some for name, some in facts.items() if some.lengths}

    def fit(self) -> None:
        """Fit a profile for each pair of stacks that was measured, on the calibration prompts."""
        found = self.evidence.find_exact_context()
        if self.kept_context and not self.evidence.is_generated(LIMIT_RUN):  # nobody looked for the limit
            found = min(found or self.kept_context, self.kept_context)
        self.evidence.exact_context = found
        for executor in STACKS:
            for validator in STACKS:
                regimes = self.regimes(executor, validator, self.calibration)
                if regimes:
                    equal = self.is_equal(executor, validator)
                    others = self.alternatives(executor, validator)
                    numbers = frozenset(n for n in others if n.startswith(("laundered_", "wrong_")))
                    self.profiles[f"{executor}>{validator}"] = fit(
                        regimes, others, numbers, cap_milli=CheckRules().llr_cap_milli, seed=self.seed,
                        times=self.effort.fit, edge_milli=round(1000 * self.evidence.edge(executor, validator)),
                        lost_ppm=self.lost_ppm(executor, validator) if equal else 0,
                        one_text=frozenset(name for name in regimes if self._is_one_text(name)),
                    )
                elif f"{executor}>{validator}" in self.kept:
                    self.profiles[f"{executor}>{validator}"] = self.kept[f"{executor}>{validator}"]

    def _is_one_text(self, regime: str) -> bool:
        """Whether it has the same texts many times over, or is a part of regimes that do."""
        if regime.startswith(PART):
            return True
        return by_name(regime).drawn and not self._is_real(by_name(regime))

    def _is_real(self, run: Run) -> bool:
        """Whether its positions are those of real answers to what it asks for."""
        return run.name in MIRRORED or self.evidence.is_generated(run.name)

    def is_equal(self, executor: str, validator: str) -> bool:
        """Whether the exact rule holds between these stacks: they have the same kernels, whose decode gives the bits of
        their prefill."""
        return executor == validator == VLLM

    def losses(self, executor: str, validator: str, wanted: Wanted) -> Losses:
        """What tokens of real honest answers lost by. wanted: which answers are looked at."""
        runs = [
            r for r in (*HONEST, *MORE)
            if r.stack == executor and self.evidence.is_generated(r.name) and self.evidence.has(r.name, validator)
        ]
        parts = []
        for run in runs:
            asked = self.evidence.asked(run.name)
            some = frozenset(id_ for id_, one in asked.items() if wanted(run, base(id_), one))
            parts.append(only(self.evidence.facts(run.name, validator), some))
        if not parts or not (every := pool(parts)).lengths:
            return Losses(0, 0, 0, 0.0)
        deep = np.maximum(-every.values[:, LEAD], every.values[:, EXCESS])
        lost = int(beyond_rounding(every.values).sum())
        return Losses(len(every.lengths), len(every.values), lost, max(float(deep.max()), 0.0))

    def lost_ppm(self, executor: str, validator: str) -> int:
        """Of a million honest tokens, how many lose by more than rounding, at most."""
        found = self.losses(executor, validator, lambda run, prompt, asked: prompt in self.calibration)
        return max(found.at_most_ppm, 1)

    def refuses(self, executor: str, validator: str, facts: Facts) -> list[CheckResult]:
        """What a validator says of each answer."""
        noise, found = self.profiles[f"{executor}>{validator}"], list[CheckResult]()
        for start, length in zip(facts.starts(), facts.lengths, strict=True):
            values = facts.values[start : start + length]
            report = weigh(values, noise)
            found.append(exact_rule(report, values, noise) if self.is_equal(executor, validator) else report)
        return found

    def groups(self, case: str, validator: str) -> NDArray[np.object_]:
        """Places of the held-out answers of a case, by prompt: draws from one text are no independent answers."""
        every = self.evidence.facts(case, validator)[0]
        ids = [base(id_) for id_ in every if base(id_) in self.heldout]
        found = np.empty(len(set(ids)), dtype=object)
        found[:] = [np.flatnonzero(np.array(ids) == name) for name in dict.fromkeys(ids)]
        return found

    def cases(self) -> list[tuple[str, str]]:
        """(case, executor's stack) of everything measured, honest regimes first."""
        names = {*self.evidence.measured.names(), *(run.name for run in RUNS)}
        runs = sorted(
            (by_name(name) for name in names if any(self.evidence.has(name, stack) for stack in STACKS)),
            key=lambda r: (bool(r.attack), r.stack, r.name),
        )
        laundered = [(f"laundered_{r.name}", r.stack) for r in runs if r.attack in LAUNDERED]
        return [
            *((r.name, r.stack) for r in runs), *laundered,
            *((case, by_name(run).stack) for case, (run, _) in RELABELLED.items()),
            ("wrong_seed", by_name(self.evidence.run_of("wrong_seed")).stack),
        ]

    def run(self, jobs: int = 1) -> None:
        """Compute all curves in `jobs` processes. Each curve seeds its own generator, so `jobs` changes no figure."""
        wanted = [
            (case, executor, validator) for case, executor in self.cases() for validator in STACKS
            if f"{executor}>{validator}" in self.profiles and self.evidence.has(case, validator)
            and only(self.evidence.facts(case, validator), self.heldout).lengths
        ]
        if jobs == 1:
            self.curves = [self.curve(*one) for one in wanted]
            return
        _forked.append(self)  # children get it by fork: facts of a million numbers are not sent through a pipe
        try:
            with multiprocessing.get_context("fork").Pool(jobs) as pool:
                self.curves = pool.starmap(_curve, wanted, chunksize=1)
        finally:
            _forked.pop()

    def curve(self, case: str, executor: str, validator: str) -> Curve:
        """Detection of `case`, answered on stack `executor` and checked on stack `validator`."""
        noise = self.profiles[f"{executor}>{validator}"]
        facts = only(self.evidence.facts(case, validator), self.heldout)
        exact = self.is_equal(executor, validator)

        def refused(drawn: tuple[Floats, Floats], limit: int) -> NDArray[np.bool_]:
            return np.asarray((drawn[0] > limit) | (exact & (drawn[1] > 0)))

        rng, sampler = np.random.default_rng(self.seed), Resampler(noise, facts)
        groups = self.groups(case, validator)
        columns = []
        for length in LENGTHS:
            limit = noise.threshold_milli(length, FALSE_ALARM_PPM)
            rate = float(refused(sampler.draw(length, self.effort.rate, rng), limit).mean())
            draws = [np.concatenate(rng.choice(groups, len(groups))) for _ in range(OUTER)]
            inner = min(INNER, self.effort.rate // OUTER)
            spread = [
                float(refused(sampler.draw(length, inner, rng, chosen=draw), limit).mean()) for draw in draws
            ]
            columns.append((rate, float(np.quantile(spread, 0.025)), float(np.quantile(spread, 0.975))))
        rates, low, high = zip(*columns, strict=True)
        return Curve(case, executor, validator, len(facts.values), len(facts.lengths), rates, low, high)


_forked: list[Evaluation] = []


def _curve(case: str, executor: str, validator: str) -> Curve:
    return _forked[-1].curve(case, executor, validator)
