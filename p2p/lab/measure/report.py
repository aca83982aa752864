"""What came out, for people and programs: JSON, a Markdown table, plots. Law: nothing here computes a result, it only
shows them.
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


def write(directory: Path, found: Mapping[str, Any], evaluation: Evaluation) -> list[Path]:
    """results.json, results.md and the plots; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "results.json", directory / "results.md"]
    files[0].write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    files[1].write_text(markdown(found, evaluation.curves))
    return files + plots(directory, evaluation)


def markdown(found: Mapping[str, Any], curves: Sequence[Curve]) -> str:
    lines = ["# Detection at a false-alarm rate of 1e-3", "", found["about"], "", "## Goals", ""]
    lines += table(["row", "goal", "ours", "reached in", "met"], [
        [
            r["row"], r["goal"], r["ours"], str(r.get("reached_in") or "> 4096"), "yes" if r["met"] else "NO"
        ] for r in found["goals"]
    ])
    lines += ["", "## Honest answers called cheats (held-out prompts)", ""]
    shown = [4, 16, 64, 256, 1000, 4096]
    lines += table(["regime", "executor > validator", *(f"{n}" for n in shown)], [
        [c.case, pair(c), *(f"{c.rates[LENGTHS.index(n)]:.4f} (<= {c.high[LENGTHS.index(n)]:.3f})" for n in shown)]
        for c in curves if c.case.startswith("honest")
    ])
    lines += ["", "## Detection by number of tokens (95 % interval by bootstrap over answers)", ""]
    shown = [16, 32, 64, 128, 256, 512, 1000, 2048, 4096]
    lines += table(["attack", "executor > validator", *(f"{n}" for n in shown)], [
        [
            c.case, pair(c),
            *(
                f"{c.rates[LENGTHS.index(n)]:.3f} [{c.low[LENGTHS.index(n)]:.2f}, {c.high[LENGTHS.index(n)]:.2f}]"
                for n in shown
            )
        ]
        for c in curves if not c.case.startswith("honest")
    ])
    for title, rows in found["tables"].items():
        if not rows:
            continue  # not measured in this run
        lines += ["", f"## {title}", "", *table(list(rows[0]), [[str(v) for v in row.values()] for row in rows])]
    return "\n".join(lines) + "\n"


def pair(curve: Curve) -> str:
    return f"{SHORT[curve.executor]} > {SHORT[curve.validator]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(row) + " |" for row in rows)
    ]


def plots(directory: Path, evaluation: Evaluation) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    files = []
    for name, wanted in (("detection_laundered", True), ("detection_plain", False)):
        figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True)
        for axis, same in zip(axes, (True, False), strict=True):
            for curve in evaluation.curves:
                if curve.case.startswith("honest") or curve.case.startswith("laundered_") != wanted or (
                    curve.executor == curve.validator
                ) != same:
                    continue
                line = axis.plot(
                    LENGTHS, curve.rates, marker=".", label=f"{curve.case.removeprefix('laundered_')} ({pair(curve)})"
                )[0]
                axis.fill_between(LENGTHS, curve.low, curve.high, alpha=0.12, color=line.get_color())
            axis.set_xscale("log", base=2)
            axis.set_xlabel("tokens")
            axis.set_title(
                ("laundered, " if wanted else "not laundered, ") + ("same stack" if same else "across stacks")
            )
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
        axes[0].set_ylabel("detected at false-alarm 1e-3")
        files.append(_save(figure, directory / f"{name}.png"))
    figure, axis = pyplot.subplots(figsize=(8, 5))
    edges = np.linspace(-1.0, 1.0, 161).tolist()
    for case in ("honest_b16", "honest_b1", "int8", "fp8", "int4", "wrong_temperature"):
        if evaluation.evidence.has(case, VLLM):
            leads = only(evaluation.evidence.facts(case, VLLM), evaluation.heldout).values[:, LEAD]
            axis.hist(
                np.clip(leads, -1, 1), edges, histtype="step", density=True,
                label=f"{case}: {100 * (leads < 0).mean():.1f} % below 0"
            )
    axis.set_yscale("log")
    axis.set_xlabel("lead of the chosen token under the validator's numbers, nats (vLLM > vLLM)")
    axis.set_ylabel("density")
    axis.legend(fontsize=8)
    files.append(_save(figure, directory / "lead_histogram.png"))
    return files


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return path
