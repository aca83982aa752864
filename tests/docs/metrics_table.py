"""The table of docs/metrics.md from the code. `python -m tests.docs.metrics_table` writes the page anew."""

from __future__ import annotations

from pathlib import Path

from p2p.gateway.metrics import GATEWAY
from p2p.metrics.peer import GROUPS
from p2p.metrics.registry import Named

PAGE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
BEGIN = "<!-- the tables below are written by python -m tests.docs.metrics_table -->"
ALL = (*GROUPS, ("gateway", GATEWAY))


def row(metric: Named) -> str:
    labels = "; ".join(f"{name}: {', '.join(values)}" for name, values in metric.labels)
    return f"| `{metric.name}` | {metric.kind.value} | {metric.says} | {labels} |"


def tables() -> str:
    parts = []
    for name, group in ALL:
        rows = "\n".join(map(row, group))
        head = "| name | kind | what it says | labels |\n|---|---|---|---|"
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{head}\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    head, _, _ = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{tables()}")
