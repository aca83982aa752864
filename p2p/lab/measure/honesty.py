"""What honest hosts have to fear: rows of the tables about them.

Law: only prompts and parameters that nothing was fitted on; every rate has its upper bound.

The epoch's sequential test is sound where the mean of exp(ratio) of an honest answer is at most 1, given all before it.
So that mean is measured, for each pair of stacks and each part of the clients' space, with the ratio cut as the ledger
cuts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from p2p.lab.measure.epoch import RULES, play
from p2p.lab.measure.evaluate import STACKS, STRATA, Evaluation, Wanted
from p2p.lab.measure.facts import only
from p2p.lab.measure.plan import HONEST, VLLM
from p2p.lab.measure.space import Asked
from p2p.verification.calibration import Facts, pool, upper_bound
from p2p.verification.check import CheckResult

EPOCHS, LENGTH, TIMES = 1000, 1000, 2000  # epochs played, answers in each; resamplings behind an interval


def table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row for each pair of stacks and each part of the clients' space."""
    rows = []
    for executor in STACKS:
        for validator in STACKS:
            if f"{executor}>{validator}" not in evaluation.profiles:
                continue
            for name, facts in _parts(evaluation, executor, validator).items():
                if facts.lengths:
                    said = evaluation.refuses(executor, validator, facts)
                    rows.append({
                        "executor > validator": f"{executor} > {validator}", "parameters": name,
                        **_row(facts, said, evaluation.seed),
                    })
    return rows


def _parts(evaluation: Evaluation, executor: str, validator: str) -> dict[str, Facts]:
    found = evaluation.strata(executor, validator, evaluation.heldout)
    runs = [r for r in HONEST if r.stack == executor and not r.drawn and evaluation.evidence.has(r.name, validator)]
    fixed = [only(evaluation.evidence.facts(run.name, validator), evaluation.heldout) for run in runs]
    return {**({"temperature 1, and other fixed ones": pool(fixed)} if fixed else {}), **found}


def _row(facts: Facts, said: list[CheckResult], seed: int) -> dict[str, Any]:
    flagged, many = sum(not one.valid for one in said), len(said)
    cap = RULES.llr_cap_milli / 1000
    values = np.exp(np.clip(np.array([one.llr_milli for one in said]) / 1000, -cap, cap))
    rng = np.random.default_rng(seed)
    means = [float(rng.choice(values, many).mean()) for _ in range(TIMES)]
    epochs = play([one.llr_milli for one in said], [], 0.0, epochs=EPOCHS, length=LENGTH, seed=seed)
    return {
        "answers": many, "tokens": len(facts.values), "flagged": flagged,
        "at most (95 %)": f"{upper_bound(flagged, many):.4f}",
        "mean of exp(ratio)": f"{values.mean():.3f} (<= {np.quantile(means, 0.95):.3f})",
        f"epochs convicted of {EPOCHS}": len(epochs.convicted_at),
    }


def exact_table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Honest tokens of equal kernels that lost the tape, or lay outside a mask, by more than rounding: parameters drawn
    from the clients' space, by half of the prompts and by part of the space; then those of fixed parameters."""
    if not evaluation.evidence.exact_context:
        return []

    def half(prompts: frozenset[str]) -> Wanted:
        return lambda run, prompt, asked: run.drawn and prompt in prompts

    def part(belongs: Callable[[Asked], bool]) -> Wanted:
        return lambda run, prompt, asked: run.drawn and belongs(asked)

    wanted: dict[str, Wanted] = {
        **{name: part(belongs) for name, belongs in STRATA.items()},
        "one at a time": lambda run, prompt, asked: run.drawn and run.batch == 1,
        "calibration prompts": half(evaluation.calibration), "held-out prompts": half(evaluation.heldout),
        "fixed parameters": lambda run, prompt, asked: not run.drawn,
    }
    rows = []
    for name, some in wanted.items():
        found = evaluation.losses(VLLM, VLLM, some)
        if found.answers:
            rows.append({
                "honest answers": name, "answers": found.answers, "tokens": found.tokens,
                "lost by more than rounding": found.lost, "worst loss, nats": f"{found.worst:.6f}",
                "in a million, at most (95 %)": found.at_most_ppm,
            })
    return rows
