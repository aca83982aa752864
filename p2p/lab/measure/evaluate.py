"""How well the profile tells cheats from honest hosts. Law: judged on prompts the profile was not fitted on; every rate
has an interval.

detection(N): share of resampled answers of N tokens whose ratio is above the profile's threshold for N. Intervals: the
answers themselves are resampled (bootstrap by sequence), 95 %.
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
TIMES, OUTER, INNER = 20_000, 40, 500
STACKS = (VLLM, TORCH)


@dataclass(frozen=True, slots=True)
class Curve:
    """rates, low, high: by length of LENGTHS. tokens: held-out tokens behind it."""

    case: str
    executor: str
    validator: str
    tokens: int
    answers: int
    rates: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def needed(self, rate: float) -> int | None:
        """The shortest length from which on the rate holds."""
        good = None
        for length, found in zip(reversed(LENGTHS), reversed(self.rates), strict=True):
            if found < rate:
                break
            good = length
        return good


@dataclass(slots=True)
class Evaluation:
    """calibration, heldout: prompt ids. times: answers put together for one rate."""

    evidence: Evidence
    calibration: frozenset[str]
    heldout: frozenset[str]
    seed: int = 20261124
    times: int = TIMES
    profiles: dict[str, Noise] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    def regimes(self, executor: str, validator: str, wanted: frozenset[str]) -> dict[str, Facts]:
        runs = [r for r in HONEST if r.stack == executor and self.evidence.has(r.name, validator)]
        found = {r.name: only(self.evidence.facts(r.name, validator), wanted) for r in runs}
        # with few prompts a sparse run may have none of these
        return {name: facts for name, facts in found.items() if facts.lengths}

    def alternatives(self, executor: str, validator: str) -> dict[str, Facts]:
        """What the profile of a pair is fitted with; a stack without an alternative of its own borrows the other
        one's.
        """
        found = {"wrong_seed": "wrong_seed"}
        for name in (*FITTED, *(["fp8_kv"] if executor == TORCH else [])):
            own = f"{name}_torch" if executor == TORCH and self.evidence.has(f"{name}_torch", validator) else name
            found[name] = own
            if name in LAUNDERED:
                found[f"laundered_{name}"] = f"laundered_{own}"
        facts = {
            name: only(self.evidence.facts(case, validator), self.calibration) for name,
            case in found.items() if self.evidence.has(case, validator)
        }
        return {name: some for name, some in facts.items() if some.lengths}

    def fit(self) -> None:
        self.evidence.exact_context = self.evidence.find_exact_context(self.calibration)
        for executor in STACKS:
            for validator in STACKS:
                regimes = self.regimes(executor, validator, self.calibration)
                if regimes:
                    others = self.alternatives(executor, validator)
                    numbers = frozenset(n for n in others if n.startswith(("laundered_", "wrong_")))
                    self.profiles[f"{executor}>{validator}"] = fit(
                        regimes, others, numbers, cap_milli=CheckRules().llr_cap_milli, seed=self.seed
                    )

    def cases(self) -> list[tuple[str, str]]:
        """(case, executor's stack) of everything measured, honest regimes first."""
        runs = sorted(
            (by_name(name) for name in self.evidence.measured.names()), key=lambda r: (bool(r.attack), r.stack, r.name)
        )
        laundered = [(f"laundered_{r.name}", r.stack) for r in runs if r.attack in LAUNDERED]
        return [
            *((r.name, r.stack) for r in runs), *laundered,
            ("wrong_seed", by_name(self.evidence.run_of("wrong_seed")).stack)
        ]

    def run(self, jobs: int = 1) -> None:
        """All curves. jobs: processes that share the work; each curve has a seed of its own, so their number changes
        nothing.
        """
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
        noise = self.profiles[f"{executor}>{validator}"]
        facts = only(self.evidence.facts(case, validator), self.heldout)
        rng, sampler, count = np.random.default_rng(self.seed), Resampler(noise, facts), len(facts.lengths)
        columns = []
        for length in LENGTHS:
            limit = noise.threshold_milli(length, FALSE_ALARM_PPM)
            rate = float((sampler.ratios(length, self.times, rng) > limit).mean())
            draws = [rng.integers(0, count, count) for _ in range(OUTER)]
            spread = [
                float((sampler.ratios(length, min(INNER, self.times // OUTER), rng, chosen=draw) > limit).mean())
                for draw in draws
            ]
            columns.append((rate, float(np.quantile(spread, 0.025)), float(np.quantile(spread, 0.975))))
        rates, low, high = zip(*columns, strict=True)
        return Curve(case, executor, validator, len(facts.values), len(facts.lengths), rates, low, high)


_forked: list[Evaluation] = []


def _curve(case: str, executor: str, validator: str) -> Curve:
    return _forked[-1].curve(case, executor, validator)
