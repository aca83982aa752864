"""Measures how well a profile tells cheats from honest hosts.

Law: a profile is judged on prompts that it was not fitted on, and every rate has an interval.

Detection at N tokens is the share of resampled answers of N tokens whose log-likelihood ratio is above the profile's
threshold for N. The 95 % interval comes from resampling the answers behind it (bootstrap by sequence).
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field

import numpy as np

from p2p.base.genesis import CheckRules
from p2p.lab.measure.facts import Evidence, only
from p2p.lab.measure.plan import FITTED, HONEST, LAUNDERED, TORCH, VLLM, by_name
from p2p.verification.calibration import Facts, Resampler, fit
from p2p.verification.check import FALSE_ALARM_PPM
from p2p.verification.profile import Noise

LENGTHS = (4, 8, 16, 32, 48, 64, 96, 128, 200, 256, 300, 512, 1000, 1500, 2048, 4096)
OUTER, INNER = 40, 500  # resamplings behind an interval; at most so many answers in each
STACKS = (VLLM, TORCH)


@dataclass(frozen=True, slots=True)
class Effort:
    """How many resampled answers stand behind a figure."""

    rate: int  # behind one detection rate
    fit: int  # behind one threshold of the profile: at least ten times the inverse of the rarest false-alarm rate


FULL = Effort(20_000, 40_000)
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


@dataclass(slots=True)
class Evaluation:
    """Fits the profiles of all pairs of stacks (`fit`), then judges every case with them (`run`)."""

    evidence: Evidence
    calibration: frozenset[str]  # ids of the prompts that profiles are fitted on
    heldout: frozenset[str]  # ids of the prompts that they are judged on
    seed: int = 20261124  # of the resampling
    effort: Effort = FULL
    profiles: dict[str, Noise] = field(default_factory=dict)  # by "EXECUTOR>VALIDATOR"
    curves: list[Curve] = field(default_factory=list)

    def regimes(self, executor: str, validator: str, wanted: frozenset[str]) -> dict[str, Facts]:
        """Facts of the honest runs of a pair of stacks, by run, for the prompts `wanted`."""
        runs = [r for r in HONEST if r.stack == executor and self.evidence.has(r.name, validator)]
        found = {r.name: only(self.evidence.facts(r.name, validator), wanted) for r in runs}
        return {name: facts for name, facts in found.items() if facts.lengths}  # a sparse run may have none of `wanted`

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
        self.evidence.exact_context = self.evidence.find_exact_context(self.calibration)
        for executor in STACKS:
            for validator in STACKS:
                regimes = self.regimes(executor, validator, self.calibration)
                if regimes:
                    others = self.alternatives(executor, validator)
                    numbers = frozenset(n for n in others if n.startswith(("laundered_", "wrong_")))
                    self.profiles[f"{executor}>{validator}"] = fit(
                        regimes, others, numbers, cap_milli=CheckRules().llr_cap_milli, seed=self.seed,
                        times=self.effort.fit,
                    )

    def cases(self) -> list[tuple[str, str]]:
        """(case, executor's stack) of everything measured, honest regimes first."""
        runs = sorted(
            (by_name(name) for name in self.evidence.measured.names()), key=lambda r: (bool(r.attack), r.stack, r.name)
        )
        laundered = [(f"laundered_{r.name}", r.stack) for r in runs if r.attack in LAUNDERED]
        return [
            *((r.name, r.stack) for r in runs), *laundered,
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
        rng, sampler, count = np.random.default_rng(self.seed), Resampler(noise, facts), len(facts.lengths)
        columns = []
        for length in LENGTHS:
            limit = noise.threshold_milli(length, FALSE_ALARM_PPM)
            rate = float((sampler.ratios(length, self.effort.rate, rng) > limit).mean())
            draws = [rng.integers(0, count, count) for _ in range(OUTER)]
            inner = min(INNER, self.effort.rate // OUTER)
            spread = [float((sampler.ratios(length, inner, rng, chosen=draw) > limit).mean()) for draw in draws]
            columns.append((rate, float(np.quantile(spread, 0.025)), float(np.quantile(spread, 0.975))))
        rates, low, high = zip(*columns, strict=True)
        return Curve(case, executor, validator, len(facts.values), len(facts.lengths), rates, low, high)


_forked: list[Evaluation] = []


def _curve(case: str, executor: str, validator: str) -> Curve:
    return _forked[-1].curve(case, executor, validator)
