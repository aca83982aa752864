"""The whole table: collect what is missing, fit on half of the prompts, judge on the other half, write it down. Law:
composition only.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from p2p.lab.measure.epoch import RULES, play, ratios
from p2p.lab.measure.evaluate import TIMES, Evaluation
from p2p.lab.measure.facts import Evidence, only
from p2p.lab.measure.goals import GOALS, judged
from p2p.lab.measure.plan import TORCH, VLLM, joined
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped
from p2p.verification.artifact import row_bytes
from p2p.verification.calibration import Facts
from p2p.verification.check import FALSE_ALARM_PPM, weigh
from p2p.verification.profile import Noise
from p2p.verification.prompts import Prompt

SHORT_ANSWER = 8  # tokens


def evaluate(
    directory: Path, prompts: tuple[Prompt, ...], *, seed: int, times: int = TIMES
) -> tuple[dict[str, Any], Evaluation]:
    """(everything found, the evaluation behind it) of what lies in `directory`."""
    measured = Measured(directory)
    evaluation = prepare(measured, prompts, seed=seed)
    evaluation.times = times
    evaluation.run(os.cpu_count() or 1)
    tables = dict(measured.noted("tables"))
    tables["Whole answers (held out), each judged by itself"] = _whole(evaluation)
    tables[
        f"An executor's epoch: e-process, convicted at {RULES.conviction_milli / 1000:.2f} nats"
    ] = _epochs(evaluation)
    tables["Artifact"] = [
        {"ids below 2^16, bytes a token": row_bytes(16), "ids below 2^18, bytes a token": row_bytes(18)}
    ]
    halves = f"{len(prompts) - len(evaluation.heldout)} for calibration, {len(evaluation.heldout)} held out"
    about = (
        f"{len(prompts)} prompts, {halves}; thresholds for {FALSE_ALARM_PPM / 1e6:g} false alarms per decision, fitted on calibration "
        f"prompts only. Resampling by answer, seed {seed}. Stacks: {VLLM}, {TORCH}. Same-stack vLLM rows: contexts of up to "
        f"{evaluation.evidence.exact_context} tokens, for which its kernels are exact (decision 014); longer answers are judged as strangers."
    )
    found = {
        "about": about, "goals": judged(GOALS, evaluation.curves), "tables": tables,
        "seconds": measured.noted("seconds"),
        "curves": [asdict(curve) for curve in evaluation.curves],
    }
    return found, evaluation


def prepare(measured: Measured, prompts: tuple[Prompt, ...], *, seed: int) -> Evaluation:
    """Profiles fitted on the calibration half; nothing judged yet."""
    calibration, heldout = shipped.split(prompts)
    fitted = frozenset(p.id for p in (*calibration, *joined(prompts)))
    evaluation = Evaluation(Evidence(measured), fitted, frozenset(p.id for p in heldout), seed)
    evaluation.fit()
    return evaluation


def _pieces(facts: Facts) -> list[Facts]:
    return [Facts(facts.values[s : s + n], (n,)) for s, n in zip(facts.starts(), facts.lengths, strict=True)]


def _whole(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Decisions on single real answers, short ones apart."""
    rows = []
    for case, executor in evaluation.cases():
        for validator in (VLLM, TORCH):
            if not evaluation.evidence.has(case, validator) or f"{executor}>{validator}" not in evaluation.profiles:
                continue
            evidence, pair = evaluation.evidence, f"{executor} > {validator}"
            rows.append(
                _row(
                    case, pair, only(evidence.facts(case, validator), evaluation.heldout),
                    evaluation.profiles[f"{executor}>{validator}"]
                )
            )
            longer, strangers = only(
                evidence.longer(case, validator), evaluation.heldout
            ), evaluation.profiles.get(f"{VLLM}>{TORCH}")
            if longer.lengths and strangers is not None:
                rows.append(
                    _row(case, f"{pair}, contexts beyond {evidence.exact_context}, as strangers", longer, strangers)
                )
    return rows


def _row(case: str, pair: str, facts: Facts, noise: Noise) -> dict[str, Any]:
    pieces = _pieces(facts)
    short = [p for p in pieces if p.lengths[0] <= SHORT_ANSWER]
    return {
        "case": case, "executor > validator": pair,
        "flagged, all": _flagged(pieces, noise), f"flagged, 1 to {SHORT_ANSWER} tokens": _flagged(short, noise),
    }


def _flagged(pieces: list[Facts], noise: Noise) -> str:
    return f"{sum(not weigh(p.values, noise).valid for p in pieces)} of {len(pieces)}"


def _epochs(evaluation: Evaluation) -> list[dict[str, Any]]:
    noise = evaluation.profiles.get(f"{VLLM}>{VLLM}")
    if noise is None:
        return []

    def of(case: str) -> list[int]:
        if not evaluation.evidence.has(case, VLLM):
            return []
        return ratios(only(evaluation.evidence.facts(case, VLLM), evaluation.heldout), noise)

    honest = of("honest_b16")
    rows = [
        play(of(name), [], 0.0, epochs=1000, length=1000, seed=evaluation.seed).row(f"honest ({name})")
        for name in ("honest_b16", "honest_b1")
    ]
    for name, case, share in (
        ("int8", "int8", 1.0), ("laundered int8", "laundered_int8", 1.0), ("laundered fp8", "laundered_fp8", 1.0),
        ("laundered int4", "laundered_int4", 1.0), ("10 % laundered int4", "laundered_int4", 0.1),
        ("10 % laundered fp8", "laundered_fp8", 0.1),
        ("10 % laundered smaller model", "laundered_smaller_model", 0.1),
        ("2 % laundered int4", "laundered_int4", 0.02),
        ("temperature 1.05", "wrong_temperature", 1.0),
    ):
        if cheating := of(case):
            rows.append(play(honest, cheating, share, epochs=300, length=1000, seed=evaluation.seed).row(name))
    return rows


