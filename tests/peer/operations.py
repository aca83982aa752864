"""A live network for tests of operations: metrics on a port, logs as JSON, spans to a collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from p2p.base.genesis import CheckRules
from p2p.peer.control import call
from tests.net_lab import Net
from tests.tools.collector import Collector, collecting


@contextmanager
def observed(folder: Path, reveal_window: int = 4, window: int = 20, **more: Any) -> Iterator[tuple[Net, Collector]]:
    """Four peers, and the collector of their spans."""
    with collecting() as collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "200"
        net = None
        try:
            net = Net(
                folder, window=window, epoch_blocks=1000, checks=CheckRules(reveal_window=reveal_window),
                settings={"metrics": "127.0.0.1:0", "log_format": "json"}, **more,
            )
            yield net, collector
        finally:
            if net is not None:
                net.close()
            del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], os.environ["OTEL_BSP_SCHEDULE_DELAY"]


def folkmoot(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "p2p", *words], capture_output=True, text=True, timeout=240, check=False,
    )


def log_of(net: Net, peer: int) -> Path:
    return net.folders[peer] / "log" / "folkmoot.log"


def metrics_of(folder: Path) -> str:
    """HOST:PORT where the peer said last that its metrics are."""
    lines = (folder / "log" / "peer.log").read_text().splitlines()
    urls = [line.split()[1] for line in lines if line.startswith("metrics ")]
    return urls[-1].removeprefix("http://").removesuffix("/metrics") if urls else ""


def conduct(net: Net, node: str) -> dict[str, Any]:
    rows = call(net.folders[0], {"op": "verification"})["participants"]
    return next(dict(row) for row in rows if row["node"] == node)


def event(log: Path, words: str) -> dict[str, Any]:
    """The first line of a JSON log whose event has these words; {} where there is none."""
    lines = log.read_text().splitlines() if log.exists() else []
    found = [one for one in map(json.loads, lines) if words in one["event"]]
    return dict(found[0]) if found else {}


def last_event(log: Path, words: str, *, after: dict[str, Any]) -> dict[str, Any]:
    """The last line with these words, where it comes after the line `after`."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = [line for line in lines[lines.index(after) :] if line["event"] == words]
    return dict(found[-1]) if found else {}
