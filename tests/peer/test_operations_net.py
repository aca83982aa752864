"""A live network as its operators see it: metrics in a real Prometheus, one inference followed by its id through logs
and spans, and a host that is upgraded under load without a lost answer."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from p2p.base.genesis import CheckRules
from p2p.client.events import Done
from p2p.peer.control import call
from testnet.processes import launch, wait_until
from tests.net_lab import Net, only, until
from tests.tools import prometheus
from tests.tools.collector import Collector, collecting

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = found.url
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "200"
        try:
            yield found
        finally:
            del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], os.environ["OTEL_BSP_SCHEDULE_DELAY"]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("net"), window=20, epoch_blocks=1000, checks=CheckRules(reveal_window=4),
        settings={"metrics": "127.0.0.1:0", "log_format": "json"}, flags={3: ["--delay-s", "0.1"]},
    )
    yield made
    made.close()


def metrics_of(folder: Path) -> str:
    """HOST:PORT where the peer said last that its metrics are."""
    lines = (folder / "log" / "peer.log").read_text().splitlines()
    urls = [line.split()[1] for line in lines if line.startswith("metrics ")]
    return urls[-1].removeprefix("http://").removesuffix("/metrics") if urls else ""


def lines_of(file: Path, inference_id: str) -> list[str]:
    return [line for line in file.read_text().splitlines() if inference_id in line] if file.exists() else []


def test_one_inference_is_followed_by_its_id(
    net: Net, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOLKMOOT_LOG_DIR", str(tmp_path / "client"))
    receipt = net.events(max_tokens="20")[-1]["receipt"]
    name = receipt["inference_id"]
    found = net.final(name)
    logs = {net.node(at): net.folders[at] / "log" / "folkmoot.log" for at in range(4)}
    client = lines_of(tmp_path / "client" / "folkmoot.log", name)
    agent = lines_of(logs[net.node(0)], name)
    executor = lines_of(logs[found["executor"]], name)
    committee = {node: lines_of(logs[node], name) for node in found["committee"]}
    print(f"\n{name}")
    for who, lines in (("client", client), ("agent", agent), ("executor", executor), *committee.items()):
        said = [json.loads(line)["event"] if line[0] == "{" else line[21:60] for line in lines]
        print(f"  {who[:12]:12} {len(lines)} lines: {said}")
    assert any("a question is sent" in line for line in client)
    assert any("an answer is complete" in line for line in client)
    assert any("an answer is confirmed" in line for line in agent)
    assert any("an answer is signed" in line for line in executor)
    for lines in committee.values():
        assert any("an answer is checked" in line for line in lines)
        assert any("a verdict is revealed" in line for line in lines)
    spans = until(lambda: len(collector.of(name)) >= 4 and collector.of(name))
    print(f"  spans {sorted(spans)} of trace {name[:32]}")
    assert set(spans) == {"client", "agent", "executor", "check"}
    assert spans["client"].span_id.hex() == name[32:48]
    assert not spans["client"].parent_span_id
    assert {one.parent_span_id.hex() for key, one in spans.items() if key != "client"} == {name[32:48]}


@pytest.mark.skipif(prometheus.PROMETHEUS is None, reason=prometheus.MISSING)
def test_a_real_prometheus_scrapes_the_network(net: Net, tmp_path: Path) -> None:
    targets = [until(lambda at=at: metrics_of(net.folders[at])) for at in range(4)]
    with prometheus.running(tmp_path / "prometheus", targets) as prom:
        health = prom.until(
            lambda: list(prom.targets().values()) == ["up"] * 4 and prom.targets(), "all targets are up",
        )
        print()
        for url, state in sorted(health.items()):
            print(f"  {url} {state}")
        assert net.ask("hello").returncode == 0
        for words, good in QUERIES:
            value = prom.until(lambda words=words, good=good: good(prom.query(words)) and prom.query(words), words)
            print(f"  {words}: {value}")
        assert {rule["name"] for rule in prom.ask("rules")["groups"]} == {"folkmoot"}


QUERIES = (
    ("folkmoot_height", lambda found: len(found) == 4 and min(found.values()) > 0),
    ("rate(folkmoot_blocks_total[30s])", lambda found: len(found) == 4 and min(found.values()) > 0),
    ("folkmoot_connections", lambda found: len(found) == 4 and min(found.values()) >= 1),
    ("sum(folkmoot_agent_requests_total{outcome='answered'})", lambda found: found.get("", 0) >= 1),
    ("sum(folkmoot_checks_total{verdict='valid'})", lambda found: found.get("", 0) >= 1),
    ("histogram_quantile(0.5, sum by (le) (folkmoot_executor_first_token_seconds_bucket))",
     lambda found: found.get("", 0) > 0),
    ("count(ALERTS{alertstate='firing'}) or vector(0)", lambda found: found == {"": 0.0}),
)


def test_a_host_is_upgraded_under_load_without_a_lost_answer(net: Net) -> None:
    """Questions run at all times, some of them on peer 3. A new process takes over when the old one has drained."""
    folder, node = net.folders[3], net.node(3)
    log = folder / "log" / "folkmoot.log"
    before = conduct(net, node)
    over = threading.Event()

    def on_peer_3() -> list[str]:
        found = []
        while not over.is_set():
            found.append(only(Done, net.ask_executor(3, 40)).receipt.inference_id.hex())
        return found

    def on_any(agent: int) -> list[str]:
        found = []
        while not over.is_set():
            done = net.ask("hello", agent, max_tokens="24")
            assert done.returncode == 0, done.stderr
            found.append(json.loads(done.stdout.splitlines()[-1])["receipt"]["inference_id"])
        return found

    with ThreadPoolExecutor(3) as pool:
        load = [pool.submit(on_peer_3), pool.submit(on_peer_3), pool.submit(on_any, 1)]
        try:
            launch(
                folder.name,
                [sys.executable, "-m", "p2p", "serve", "--dir", str(folder), "--bootstrap", net.bootstrap, "--ml-node",
                 net.urls[folder.name], "--replace", "--drain-limit", "60"],
                folder / "log" / "peer.log", net.directory,
            )
            end = until(lambda: event(log, "this peer ends"), 200)
            wait_until(net.directory, folder, lambda status: status["state"] == "ready", "ready")
            again = until(lambda: last_event(log, "this peer signs again since its start", after=end), 120)
        finally:
            over.set()
        answers = [name for one in load for name in one.result()]
    begun = event(log, "this peer drains")
    states = [net.final(name)["status"] for name in answers]
    after = conduct(net, node)
    print(
        f"\n  {len(answers)} answers while it was upgraded, none lost; when the drain began {begun['answers']} ran"
        f" there; it took {end['seconds']} s, unfinished {end['unfinished']}; the old process signed up to height"
        f" {again['before']}, the new one from {again['height']} on;"
        f" duties {before['duties']} to {after['duties']}, missed {before['missed']} to {after['missed']}"
    )
    assert end["unfinished"] == 0
    assert set(states) <= {"VALIDATED", "UNCHECKED"}, states
    assert (after["missed"], after["misses"]) == (before["missed"], before["misses"])


def conduct(net: Net, node: str) -> dict[str, Any]:
    rows = call(net.folders[0], {"op": "verification"})["participants"]
    return next(dict(row) for row in rows if row["node"] == node)


def event(log: Path, words: str) -> dict[str, Any]:
    """The first line of a JSON log with these words; {} where there is none."""
    found = [json.loads(line) for line in log.read_text().splitlines() if words in line]
    return dict(found[0]) if found else {}


def last_event(log: Path, words: str, *, after: dict[str, Any]) -> dict[str, Any]:
    """The last line with these words, where it comes after the line `after`."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = [line for line in lines[lines.index(after) :] if line["event"] == words]
    return dict(found[-1]) if found else {}
