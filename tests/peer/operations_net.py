"""The longer tests of operations: a network in a real Prometheus, and a host that is upgraded under load.

`make operations` and `make monitoring` run them; `make test` has the short form, test_operations_net.py.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2p.base.genesis import CheckRules
from p2p.client.events import Done
from testnet.processes import launch, wait_until
from tests.net_lab import Net, only, until
from tests.peer.duties_seen import duties_of
from tests.peer.operations import conduct, event, last_event, metrics_of, observed
from tests.tools import prometheus

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """With the default windows of checks."""
    folder, to_commit, to_reveal = tmp_path_factory.mktemp("net"), 60, CheckRules().reveal_window
    with observed(folder, to_reveal, to_commit, flags={3: ["--delay-s", "0.3"]}) as (found, _):
        yield found


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
    finals = [net.final(name) for name in answers]
    states, seen = [one["status"] for one in finals], duties_of(node, finals)
    after, missed = conduct(net, node), [duty for duty in seen if duty.missed]
    print(
        f"\n  {len(answers)} answers while it was upgraded, none lost; the drain began at height {begun['height']} with"
        f" {begun['answers']} answers and ended at {end['height']} after {end['seconds']} s, unfinished"
        f" {end['unfinished']}, draws up to {end['last_draws']} checked; the old process signed up to height"
        f" {again['before']}, the new one from {again['height']} on; duties {before['duties']} to"
        f" {after['duties']}, missed {before['missed']} to {after['missed']}"
    )
    for duty in missed:
        print(f"  missed its {duty.missed}: {duty}")
    assert end["unfinished"] == 0
    assert set(states) <= {"VALIDATED", "UNCHECKED"}, states
    assert after["misses"] == before["misses"], "no answer that it was drawn for is missing"
    assert missed == [], "nor a check"
