"""A real Prometheus (Debian package `prometheus`) for tests and `make monitoring`. Law: it listens on loopback only and
ends with the block that started it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "monitoring" / "alerts.yml"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
MISSING = "Prometheus is not installed (scripts/monitoring-tools.sh installs the Debian package)"
_WAIT_S = 120.0


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **words: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}?{urlencode(words)}", timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def targets(self) -> dict[str, str]:
        """URL -> 'up', 'down' or 'unknown'."""
        return {one["scrapeUrl"]: one["health"] for one in self.ask("targets")["activeTargets"]}

    def query(self, words: str) -> dict[str, float]:
        """One value for each instance, or for '' where the expression has none."""
        found = self.ask("query", query=words)["result"]
        return {row["metric"].get("instance", ""): float(row["value"][1]) for row in found}

    def until(self, good: Any, what: str) -> Any:
        """Poll until `good()` is truthy."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if value := good():
                return value
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {_WAIT_S} s; targets {self.targets()}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `targets` (HOST:PORT) each second, under the rules of monitoring/alerts.yml."""
    assert PROMETHEUS is not None, MISSING
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "folkmoot", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
            ],
            stdout=log, stderr=log,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        found.until(lambda: _is_ready(found), "Prometheus is ready")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(found: Prometheus) -> bool:
    try:
        return httpx.get(f"{found.url}/-/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
