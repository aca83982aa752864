"""Metrics, alert rules and dashboards say the same: docs name what the code has, expressions use what exists and parse,
dashboards are what Grafana's own types read."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from p2p.gateway.metrics import GATEWAY
from p2p.metrics.peer import PEER
from p2p.metrics.registry import Kind
from tests.docs.metrics_table import BEGIN, PAGE, tables
from tests.tools.prometheus import MISSING, PROMTOOL, ROOT, RULES

BOARDS = sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))
NAME = re.compile(r"\b(?:folkmoot|process)_[a-z0-9_]+\b")


def known() -> set[str]:
    """Every series' name."""
    found = {"up"}
    for metric in (*PEER, *GATEWAY):
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {metric.name + end for end in ends}
    return found


def expressions(board: Path) -> Iterator[str]:
    for panel in json.loads(board.read_text())["panels"]:
        assert panel["description"].endswith("."), "each panel says what it is for"
        for target in panel["targets"]:
            yield target["expr"]


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_exactly_the_metrics_of_the_code() -> None:
    assert PAGE.read_text().partition(BEGIN)[2].strip() == tables().strip(), "python -m tests.docs.metrics_table"
    names = [metric.name for metric in (*PEER, *GATEWAY)]
    assert len(names) == len(set(names))


def test_dashboards_are_what_the_program_writes() -> None:
    module = generator()
    assert {board.stem for board in BOARDS} == set(module.BOARDS)
    for board in BOARDS:
        assert board.read_text() == module.text_of(board.stem), "python scripts/dashboards.py"


@pytest.mark.parametrize("file", [*BOARDS, RULES], ids=lambda path: path.name)
def test_every_expression_names_metrics_that_exist(file: Path) -> None:
    words = "\n".join(expressions(file)) if file.suffix == ".json" else "\n".join(
        line for line in file.read_text().splitlines() if line.strip().startswith("expr:")
    )
    used = set(NAME.findall(words))
    assert used
    assert used <= known(), used - known()


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.name)
def test_grafanas_types_read_a_dashboard_without_a_loss(board: Path) -> None:
    register_default_plugins()
    raw = json.loads(board.read_text())
    back = json.loads(JSONEncoder().encode(Dashboard.from_json(raw)))
    assert list(lost(raw, back)) == []


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where something of `before` is not in `after`."""
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            yield path
        else:
            for at, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from lost(one, other, f"{path}[{at}]")
    elif before != after:
        yield path


def promtool(*words: str, folder: Path) -> str:
    if PROMTOOL is None:
        pytest.skip(MISSING)
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_parses_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    rules = []
    for board in BOARDS:
        for at, words in enumerate(expressions(board)):
            plain = words.replace("$__rate_interval", "5m").replace("$instance", ".*")
            rules.append({"record": f"{board.stem}:{at}", "expr": plain})
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "rules.yml", folder=tmp_path)


def test_alert_rules_are_checked_and_tested() -> None:
    said = promtool("check", "rules", "alerts.yml", folder=RULES.parent)
    assert "SUCCESS" in said
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml", folder=RULES.parent)
    names = re.findall(r"alert: (\w+)", RULES.read_text())
    tested = set(re.findall(r'alertname="(\w+)"', (RULES.parent / "alerts_test.yml").read_text()))
    assert set(names) == tested, "every alert fires in a test"
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert all(f"`{name}`" in page for name in names)
