"""Makes the whole table: fits profiles on one half of the prompts, judges them on the other, collects the figures.

Law: composition only; nothing is measured here.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from p2p.lab.measure import honesty
from p2p.lab.measure.epoch import RULES, play
from p2p.lab.measure.evaluate import FULL, Effort, Evaluation
from p2p.lab.measure.facts import only
from p2p.lab.measure.goals import GOALS, judged
from p2p.lab.measure.plan import TORCH, VLLM, joined
from p2p.lab.measure.redraw import Redrawn
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped
from p2p.verification.artifact import row_bytes
from p2p.verification.calibration import Facts
from p2p.verification.check import FALSE_ALARM_PPM, exact_rule, weigh
from p2p.verification.profile import KERNELS_MARK, Noise, Profile, family
from p2p.verification.prompts import Prompt

CONTEXTS = "contexts"  # folder of what contexts.py measures, within that of all that was measured
PAIR = ">"  # between an executor's stack and a validator's, in the name of a pair
SHORT_ANSWER = 8  # tokens: shorter answers have a column of their own
CHEATS = (  # rows of the epoch table: name, case, share of the answers in which the host cheats
    ("int8", "int8", 1.0), ("laundered int8", "laundered_int8", 1.0), ("laundered fp8", "laundered_fp8", 1.0),
    ("laundered int4", "laundered_int4", 1.0), ("10 % laundered int4", "laundered_int4", 0.1),
    ("10 % laundered fp8", "laundered_fp8", 0.1), ("10 % laundered smaller model", "laundered_smaller_model", 0.1),
    ("2 % laundered int4", "laundered_int4", 0.02), ("temperature 1.05", "wrong_temperature", 1.0),
)


def evaluate(
    directory: Path, prompts: tuple[Prompt, ...], *, seed: int, effort: Effort = FULL,
    kept: Profile | None = None,
) -> tuple[dict[str, Any], Evaluation]:
    """Judge what lies in `directory`. Returns (the content of results.json, the evaluation behind it)."""
    measured = Measured(directory)
    evaluation = prepare(measured, prompts, seed=seed, effort=effort, kept=kept)
    evaluation.run(os.cpu_count() or 1)
    tables = dict(measured.noted("tables"))
    tables["Whole answers (held out), each judged by itself"] = _whole(evaluation)
    tables["Honest hosts (held-out prompts and parameters)"] = honesty.table(evaluation)
    tables["Honest tokens of equal kernels"] = honesty.exact_table(evaluation)
    convicted = f"e-process, convicted at {RULES.conviction_milli / 1000:.2f} nats"
    tables[f"An executor's epoch: {convicted}"] = _epochs(evaluation)
    tables["Artifact"] = [{f"ids below 2^{bits}, bytes a token": row_bytes(bits) for bits in (16, 18)}]
    found = {
        "about": _about(evaluation, len(prompts)), "goals": judged(GOALS, evaluation.curves), "tables": tables,
        "seconds": measured.noted("seconds"), "curves": [asdict(curve) for curve in evaluation.curves],
    }
    return found, evaluation


def by_family(profile: Profile, kernels: str) -> dict[str, Noise]:
    """Noise by pair of stacks without their kernels; that of `kernels` checked by themselves, where it is there."""
    own = f"{kernels}{PAIR}{kernels}"
    pairs = sorted(profile.pairs.items(), key=lambda pair: pair[0] == own)
    return {
        PAIR.join(map(family, name.split(PAIR))): noise for name, noise in pairs
        if name == own or KERNELS_MARK not in name
    }


def prepare(
    measured: Measured, prompts: tuple[Prompt, ...], *, seed: int, effort: Effort = FULL,
    kept: Profile | None = None,
) -> Evaluation:
    """An evaluation whose profiles are fitted on the calibration half of `prompts`; nothing is judged yet. kept: a
    profile whose pairs are used where no honest answers of them were measured."""
    calibration, heldout = shipped.split(prompts)
    fitted = frozenset(p.id for p in (*calibration, *joined(prompts)))
    evidence = Redrawn(measured, Measured(measured.directory / CONTEXTS))
    evaluation = Evaluation(evidence, fitted, frozenset(p.id for p in heldout), seed, effort)
    if kept is not None:
        evaluation.kept = by_family(kept, measured.noted("stacks").get(VLLM, ""))
        evaluation.kept_context, evaluation.kept_tolerance = kept.exact_context, kept.reveal_tolerance_milli
    evaluation.fit()
    return evaluation


def _about(evaluation: Evaluation, prompts: int) -> str:
    """How the figures were made, in one paragraph."""
    heldout, generated = len(evaluation.heldout), evaluation.evidence.measured.names()
    return (
        f"{prompts} prompts, {prompts - heldout} for calibration, {heldout} held out; thresholds for "
        f"{FALSE_ALARM_PPM / 1e6:g} false alarms per decision, fitted on calibration prompts only. "
        f"Resampling by answer, seed {evaluation.seed}. Stacks: {VLLM}, {TORCH}. "
        f"Same-stack vLLM rows: contexts of up to {evaluation.evidence.exact_context} tokens, for which its kernels "
        f"are exact (decision 014); longer answers are judged as strangers. Parameters of the clients' space: seed "
        f"{evaluation.evidence.measured.noted('space').get('seed')}. Generated: {', '.join(generated) or 'none'}; all "
        f"other cases are drawn again from real texts and real numbers (decision 066)."
    )


def _whole(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Decisions on single real answers; a row's last column is for the short ones among them."""
    evidence, rows = evaluation.evidence, list[dict[str, Any]]()
    strangers = evaluation.profiles.get(f"{VLLM}>{TORCH}")
    for case, executor in evaluation.cases():
        for validator in (VLLM, TORCH):
            noise = evaluation.profiles.get(f"{executor}>{validator}")
            if noise is None or not evidence.has(case, validator):
                continue
            pair = f"{executor} > {validator}"
            facts = only(evidence.facts(case, validator), evaluation.heldout)
            rows.append(_row(case, pair, facts, noise, exact=evaluation.is_equal(executor, validator)))
            longer = only(evidence.longer(case, validator), evaluation.heldout)
            if longer.lengths and strangers is not None:
                pair = f"{pair}, contexts beyond {evidence.exact_context}, as strangers"
                rows.append(_row(case, pair, longer, strangers))
    return rows


def _row(case: str, pair: str, facts: Facts, noise: Noise, *, exact: bool = False) -> dict[str, Any]:
    pieces = _pieces(facts)
    short = [p for p in pieces if p.lengths[0] <= SHORT_ANSWER]
    return {
        "case": case, "executor > validator": pair,
        "flagged, all": _flagged(pieces, noise, exact),
        f"flagged, 1 to {SHORT_ANSWER} tokens": _flagged(short, noise, exact),
    }


def _pieces(facts: Facts) -> list[Facts]:
    """The facts of each answer by itself."""
    return [Facts(facts.values[s : s + n], (n,)) for s, n in zip(facts.starts(), facts.lengths, strict=True)]


def _flagged(pieces: list[Facts], noise: Noise, exact: bool) -> str:
    said = [weigh(piece.values, noise) for piece in pieces]
    if exact:
        said = [exact_rule(one, piece.values, noise) for one, piece in zip(said, pieces, strict=True)]
    return f"{sum(not one.valid for one in said)} of {len(pieces)}"


def _epochs(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Epochs of honest hosts and of CHEATS, played with the ratios of held-out answers (vLLM checked by vLLM)."""
    if f"{VLLM}>{VLLM}" not in evaluation.profiles:
        return []

    def of(case: str) -> list[int]:
        if not evaluation.evidence.has(case, VLLM):
            return []
        facts = only(evaluation.evidence.facts(case, VLLM), evaluation.heldout)
        return [one.llr_milli for one in evaluation.refuses(VLLM, VLLM, facts)]

    honest = of("honest_b16")
    rows = [
        play(found, [], 0.0, epochs=1000, length=1000, seed=evaluation.seed).row(f"honest ({name})")
        for name in ("honest_b16", "honest_b1") if (found := of(name))
    ]
    for name, case, share in CHEATS:
        if (cheating := of(case)) and (honest or share == 1.0):
            rows.append(play(honest, cheating, share, epochs=300, length=1000, seed=evaluation.seed).row(name))
    return rows
