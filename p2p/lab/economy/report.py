"""Results for people and programs: tables, JSON, plots. Law: nothing is computed here but differences to honest
operators."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from p2p.base.genesis import EconomyRules
from p2p.lab.economy import evasion
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.detection import ACROSS, SAME
from p2p.lab.economy.detection import rows as rows_of_table
from p2p.lab.economy.maps import Grid
from p2p.lab.economy.strategies import BY_NAME, VICTIM
from p2p.lab.economy.theory import cheat_gain
from p2p.lab.economy.trial import Outcome

HEAD = (
    "strategy", "profit an epoch", "+-", "less honest", "+- of that", "% of honest", "2nd half, %", "answers",
    "cheated", "refused", "convicted", "barred",
)
_MARKED = (  # (kind, stacks, tokens) of rows of the table that the plot of regions names
    ("laundered_int4", SAME, 64), ("laundered_int8", SAME, 64), ("laundered_int8", ACROSS, 200),
    ("laundered_int8", ACROSS, 1000),
)
_SAYS = ("answers", "cheated", "INVALIDATED", "convicted epochs", "barred epochs")  # counts in the table
_INFINITE = 1e18  # micro-credits: an interval of one operator has no bound


def rows(found: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """One row for each strategy. Amounts are micro-credits per operator and epoch."""
    honest = found["honest"]
    half = honest.profits.shape[1] // 2
    result = []
    for name, outcome in found.items():
        mean = outcome.mean()
        result.append({
            "strategy": name, "does": BY_NAME[name].does, "operators": len(outcome.profits),
            "mean_micro": round(mean), "ci95_micro": _finite(outcome.spread()),
            "margin_micro": round(honest.mean() - mean),
            "margin_ci95_micro": _finite(math.hypot(honest.spread(), outcome.spread())),
            "percent": round(100 * mean / honest.mean(), 1),
            "late_percent": round(100 * outcome.mean(half) / honest.mean(half), 1),
            **{key: outcome.counts.get(key, 0) for key in _SAYS},
        })
    return result


def _finite(value: float) -> int | None:
    return round(value) if value < _INFINITE else None


def _known(value: int | None) -> str:
    return "-" if value is None else str(value)


def _markdown(head: Sequence[str], body: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in (head, *body)]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]


def table(found: Mapping[str, Outcome]) -> list[str]:
    """Lines of Markdown: one scenario's strategies."""
    return _markdown(HEAD, [[
        row["strategy"], row["mean_micro"], _known(row["ci95_micro"]), row["margin_micro"],
        _known(row["margin_ci95_micro"] if row["strategy"] != "honest" else None), row["percent"], row["late_percent"],
        *(row[key] for key in _SAYS),
    ] for row in rows(found)])


AGAINST_HEAD = (
    "attack", "attacker, % of honest", "+-", "victim, % of honest", "+-", "aimed", "victims' answers",
    "of them refused", "strikes", "suspended, barred or convicted epochs", "mean price",
    "newcomers: tried, came in, stayed",
)
_HARM = ("suspended epochs", "barred epochs", "convicted epochs")


def against(played: Mapping[str, Mapping[str, Outcome]]) -> list[dict[str, Any]]:
    """One row for each attack. Attackers and victims are compared with the bystanders of the same network."""
    result = []
    for found in played.values():
        if VICTIM not in found:
            continue
        honest, victim = found["honest"], found[VICTIM]
        attack = next(strategy for strategy in found if strategy not in ("honest", VICTIM))
        epochs, sides = victim.profits.size, (("attacker", found[attack]), ("victim", victim))
        result.append({
            "attack": attack, "does": BY_NAME[attack].does, "honest_micro": round(honest.mean()),
            **{f"{role}_percent": round(100 * one.mean() / honest.mean(), 1) for role, one in sides},
            **{
                f"{role}_ci95_percent": round(100 * math.hypot(one.spread(), honest.spread()) / honest.mean(), 1)
                for role, one in sides
            },
            "aimed": found[attack].counts.get("aimed", 0), "answers": victim.counts.get("answers", 0),
            "refused": victim.counts.get("INVALIDATED", 0), "strikes": victim.counts.get("strikes", 0),
            "out_epochs": sum(victim.counts.get(what, 0) for what in _HARM),
            "price": round(victim.counts.get("price of all epochs", 0) / epochs, 1),
            "newcomers": [victim.counts.get(what, 0) for what in ("newcomers", "came in", "stayed an epoch")],
        })
    return result


def table_against(played: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    """Lines of Markdown: all attacks. Empty where none was played."""
    body = [[
        row["attack"], row["attacker_percent"], row["attacker_ci95_percent"], row["victim_percent"],
        row["victim_ci95_percent"], row["aimed"], row["answers"], row["refused"], row["strikes"], row["out_epochs"],
        row["price"], ", ".join(map(str, row["newcomers"])) if any(row["newcomers"]) else "",
    ] for row in against(played)]
    return _markdown(AGAINST_HEAD, body) if body else []


def table_of_evasion() -> list[str]:
    """Lines of Markdown: the evasion curve under the default rules, and whether any point pays."""
    found = evasion.table(EconomyRules(), Assumptions())
    paying = [f"{one.point.pair}, {one.point.draft}, tau {one.point.tau:g}" for one in found if one.pays]
    return [
        evasion.source(), "", *_markdown(evasion.HEAD, evasion.lines(found)), "",
        f"points that earn more than honesty: {'; '.join(paying) or 'none'}",
    ]


def document(
    played: Mapping[str, Mapping[str, Outcome]], grids: Sequence[Grid], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of results.json. about: how it was played, printed as it is."""
    return {
        "about": dict(about), "assumptions": dict(Assumptions().table()),
        "scenarios": {
            name: {
                "table": rows(found),
                "cumulative_micro": {s: [round(x) for x in o.cumulative()] for s, o in found.items()},
            }
            for name, found in alone(played).items()
        },
        "attacks": against(played),
        "evasion": [
            {**asdict(one.point), "percent_of_honesty": one.percent}
            for one in evasion.table(EconomyRules(), Assumptions())
        ],
        "maps": {
            g.name: {
                "title": g.title, "x": g.x_label, "y": g.y_label, "xs": list(g.xs), "ys": list(g.ys),
                "gain_percent": g.gains,
            }
            for g in grids
        },
    }


def write(
    directory: Path, played: Mapping[str, Mapping[str, Outcome]], grids: Sequence[Grid], about: Mapping[str, Any]
) -> list[Path]:
    """Write results.json, table.md, a plot for each scenario, one of the regions and one of all maps. Returns their
    paths."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "results.json", directory / "table.md"]
    files[0].write_text(json.dumps(document(played, grids, about), indent=1) + "\n")
    text = [f"{key}: {value}" for key, value in about.items()]
    for name, found in alone(played).items():
        text += ["", f"## {name}", "", *table(found)]
    text += ["", "## attacks", "", *table_against(played), "", "## evasion", "", *table_of_evasion()]
    files[1].write_text("\n".join(text) + "\n")
    plots = [*(_profits(directory, name, found) for name, found in alone(played).items()), _edges(directory)]
    return [*files, *plots, *([_maps(directory, grids)] if grids else [])]


def alone(played: Mapping[str, Mapping[str, Outcome]]) -> dict[str, Mapping[str, Outcome]]:
    """The scenarios without victims, in which each strategy plays for itself."""
    return {name: found for name, found in played.items() if VICTIM not in found}


def _profits(directory: Path, name: str, found: Mapping[str, Outcome]) -> Path:
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(11, 7))
    for at, (strategy, outcome) in enumerate(sorted(found.items(), key=lambda item: -item[1].mean())):
        line = "-" if strategy == "honest" else ("--", "-.", ":")[at % 3]
        values = [x / 1e6 for x in outcome.cumulative()]
        axis.plot(range(1, len(values) + 1), values, line, linewidth=3 if strategy == "honest" else 1.4, label=strategy)
    axis.set_xlabel("epoch")
    axis.set_ylabel("profit so far of the mean operator, credits")
    axis.set_title(f"{name}: profit by strategy, best first")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _save(figure, directory / f"profit_{name}.png")


def _edges(directory: Path) -> Path:
    """The plot of where one cheated answer pays (theory.py), without and with fines."""
    pyplot, rules, assume = _pyplot(), EconomyRules(), Assumptions()
    checks, seen = np.linspace(0.01, 1, 100), np.linspace(0, 1, 101)
    saved = assume.saved["laundered_int4"] * assume.token_cost_micro / assume.price_micro
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True)
    for axis, fined in zip(axes, (False, True), strict=True):
        gains = [[cheat_gain(saved, p, d, rules, fined=fined) for p in checks] for d in seen]
        drawn = axis.pcolormesh(checks, seen, gains, cmap="RdYlGn_r", vmin=-0.85, vmax=0.85)
        axis.contour(checks, seen, gains, levels=[0.0], colors="black")
        for name, pair, tokens in _MARKED:
            rate = rows_of_table()[name, pair].rate(tokens)
            axis.text(0.3, min(max(rate, 0.02), 0.96), f"{name}, {pair} stack, {tokens} tokens", fontsize=8)
        axis.set_xlabel("probability that an answer is checked")
        axis.set_title(f"{'with' if fined else 'without'} fines (M16)")
    axes[0].set_ylabel("probability that a check sees it")
    figure.colorbar(drawn, ax=axes, label="gain of one cheated answer, in fees: red pays")
    return _save(figure, directory / "edges.png")


def _maps(directory: Path, grids: Sequence[Grid]) -> Path:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(2, 4, figsize=(22, 9))
    for axis, grid in zip(axes.flat, grids, strict=False):
        if len(grid.ys) == 1:
            axis.plot(grid.xs, grid.gains[0], "o-")
            axis.axhline(0, color="black", linewidth=0.8)
            axis.set_ylabel("gain, %")
            axis.grid(alpha=0.3)
        else:
            axis.imshow(grid.gains, cmap="RdYlGn_r", vmin=-100, vmax=100, origin="lower", aspect="auto")
            axis.set_xticks(range(len(grid.xs)), [f"{x:g}" for x in grid.xs])
            axis.set_yticks(range(len(grid.ys)), [f"{y:g}" for y in grid.ys])
            axis.set_ylabel(grid.y_label)
            for y, line in enumerate(grid.gains):
                for x, value in enumerate(line):
                    weight = "bold" if value > 0 else "normal"
                    axis.text(x, y, f"{value:+.0f}", ha="center", va="center", fontweight=weight)
        axis.set_xlabel(grid.x_label)
        axis.set_title(grid.title, fontsize=9)
    return _save(figure, directory / "maps.png")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=100, bbox_inches="tight")
    return path
