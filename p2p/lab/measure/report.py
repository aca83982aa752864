"""Writes what was found, for people and for programs: JSON, a Markdown table, plots.

Law: nothing here computes a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from p2p.lab.measure.evaluate import LENGTHS, Curve, Evaluation
from p2p.lab.measure.facts import only
from p2p.lab.measure.plan import TORCH, VLLM
from p2p.verification.statistics import LEAD

SHORT = {VLLM: "vLLM", TORCH: "torch"}
HONEST_COLUMNS = (4, 16, 64, 256, 1000, 4096)  # tokens; each one of LENGTHS
CHEAT_COLUMNS = (16, 32, 64, 128, 256, 512, 1000, 2048, 4096)
HISTOGRAM = ("honest_b16", "honest_b1", "int8", "fp8", "int4", "wrong_temperature")


def write(directory: Path, found: Mapping[str, Any], evaluation: Evaluation) -> list[Path]:
    """Write results.json, results.md and the plots into `directory`. Returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "results.json", directory / "results.md"]
    files[0].write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    files[1].write_text(markdown(found, evaluation.curves))
    return files + plots(directory, evaluation)


def markdown(found: Mapping[str, Any], curves: Sequence[Curve]) -> str:
    """All tables as one Markdown text. found: as `bench.evaluate` returns it."""
    lines = ["# Detection at a false-alarm rate of 1e-3", "", found["about"], "", "## Goals", ""]
    lines += table(["row", "goal", "ours", "reached in", "met"], [
        [row["row"], row["goal"], row["ours"], str(row.get("reached_in") or "> 4096"), "yes" if row["met"] else "NO"]
        for row in found["goals"]
    ])
    lines += ["", "## Honest answers called cheats (held-out prompts)", ""]
    lines += table(["regime", "executor > validator", *map(str, HONEST_COLUMNS)], [
        [curve.case, pair(curve), *(_alarms(curve, tokens) for tokens in HONEST_COLUMNS)]
        for curve in curves if curve.case.startswith("honest")
    ])
    lines += ["", "## Detection by number of tokens (95 % interval by bootstrap over answers)", ""]
    lines += table(["attack", "executor > validator", *map(str, CHEAT_COLUMNS)], [
        [curve.case, pair(curve), *(_detection(curve, tokens) for tokens in CHEAT_COLUMNS)]
        for curve in curves if not curve.case.startswith("honest")
    ])
    for title, rows in found["tables"].items():
        if not rows:
            continue  # not measured in this run
        lines += ["", f"## {title}", "", *table(list(rows[0]), [[str(v) for v in row.values()] for row in rows])]
    return "\n".join(lines) + "\n"


def _alarms(curve: Curve, tokens: int) -> str:
    at = LENGTHS.index(tokens)
    return f"{curve.rates[at]:.4f} (<= {curve.high[at]:.3f})"


def _detection(curve: Curve, tokens: int) -> str:
    at = LENGTHS.index(tokens)
    return f"{curve.rates[at]:.3f} [{curve.low[at]:.2f}, {curve.high[at]:.2f}]"


def pair(curve: Curve) -> str:
    """EXECUTOR > VALIDATOR, for people."""
    return f"{SHORT[curve.executor]} > {SHORT[curve.validator]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def plots(directory: Path, evaluation: Evaluation) -> list[Path]:
    """Detection curves, laundered and plain, and a histogram of honest and cheating leads. Returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    files = []
    for name, laundered in (("detection_laundered", True), ("detection_plain", False)):
        figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True)
        for axis, same in zip(axes, (True, False), strict=True):
            _draw_curves(axis, evaluation.curves, laundered=laundered, same_stack=same)
        axes[0].set_ylabel("detected at false-alarm 1e-3")
        files.append(_save(figure, directory / f"{name}.png"))
    figure, axis = pyplot.subplots(figsize=(8, 5))
    _draw_leads(axis, evaluation)
    files.append(_save(figure, directory / "lead_histogram.png"))
    return files


def _draw_curves(axis: Any, curves: Sequence[Curve], *, laundered: bool, same_stack: bool) -> None:
    for curve in curves:
        if curve.case.startswith("honest") or curve.case.startswith("laundered_") != laundered:
            continue
        if (curve.executor == curve.validator) == same_stack:
            label = f"{curve.case.removeprefix('laundered_')} ({pair(curve)})"
            line = axis.plot(LENGTHS, curve.rates, marker=".", label=label)[0]
            axis.fill_between(LENGTHS, curve.low, curve.high, alpha=0.12, color=line.get_color())
    axis.set_xscale("log", base=2)
    axis.set_xlabel("tokens")
    kind, where = "laundered" if laundered else "not laundered", "same stack" if same_stack else "across stacks"
    axis.set_title(f"{kind}, {where}")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)


def _draw_leads(axis: Any, evaluation: Evaluation) -> None:
    edges = np.linspace(-1.0, 1.0, 161).tolist()
    for case in HISTOGRAM:
        if evaluation.evidence.has(case, VLLM):
            leads = only(evaluation.evidence.facts(case, VLLM), evaluation.heldout).values[:, LEAD]
            label = f"{case}: {100 * (leads < 0).mean():.1f} % below 0"
            axis.hist(np.clip(leads, -1, 1), edges, histtype="step", density=True, label=label)
    axis.set_yscale("log")
    axis.set_xlabel("lead of the chosen token under the validator's numbers, nats (vLLM > vLLM)")
    axis.set_ylabel("density")
    axis.legend(fontsize=8)


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return path
