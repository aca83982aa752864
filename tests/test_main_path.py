"""Real peers, real libp2p, real LMDB, real consensus; only the ML node is the named fake. kill, restart, stop two, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.control import call
from p2p.errors import FolkmootError
from testnet.generate import Plan, generate
from testnet.providers import alive, fresh_directory, read_state, start, start_peer, stop, up, wait_until

pytestmark = pytest.mark.network


def until(good: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until `good()` is truthy; the last value, or an assertion."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            value = good()
            if value:
                return value
        except FolkmootError:
            pass
        time.sleep(0.1)
    raise AssertionError("did not come true")


class Net:
    def __init__(self, directory: Path, peers: int = 4) -> None:
        fresh_directory(directory)
        self.directory = directory
        start("ml", ["tests.fake_vllm", "--port", "0"], directory / "log" / "ml.log", directory)
        log = directory / "log" / "ml.log"
        self.url = until(lambda: [x for x in log.read_text().split() if x.startswith("http")])[0]
        self.folders = generate(Plan(directory, peers))
        self.bootstrap = up(directory, self.folders, {f.name: self.url for f in self.folders}, lambda text: None)

    def height(self, peer: int) -> int:
        return int(call(self.folders[peer], {"op": "status"})["height"])

    def block(self, peer: int, height: int) -> dict[str, Any]:
        return call(self.folders[peer], {"op": "block", "height": height})

    def ask(self, prompt: str = "hello", peer: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        address = call(self.folders[peer], {"op": "status"})["addresses"][0]
        argv = [sys.executable, "-m", "p2p", "ask", "--json", "--peer", address, "--dir", str(self.directory / "client"), prompt]
        for name, value in extra.items():
            argv += ["--" + name.replace("_", "-"), value]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def restart(self, peer: int) -> None:
        start_peer(self.directory, self.folders[peer], self.bootstrap, self.url)
        wait_until(self.directory, self.folders[peer], lambda s: s["state"] == "ready", "ready")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    directory = tmp_path_factory.mktemp("net")
    try:
        yield Net(directory)
    finally:
        entries = read_state(directory)["processes"]
        stop(directory)
        assert not any(map(alive, entries.values()))


def test_a_question_is_answered_recorded_validated_and_paid(net: Net) -> None:
    done = net.ask(max_tokens="20")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    receipt = events[-1]["receipt"]
    assert receipt["checked"]
    assert sum(e["event"] == "token" for e in events) == receipt["output_tokens"] == 20
    found = until(lambda: _final(net, receipt["inference_id"]))
    assert found["status"] == "VALIDATED", found
    assert found["output_matches"]
    assert 0 < found["start_height"] <= found["finish_height"] < found["end_height"]
    assert found["executor"] not in found["committee"]
    assert found["committee_height"] > found["finish_height"]
    assert found["charged_micro"] == found["paid_micro"] == (found["prompt_tokens"] + 20) * found["price_micro"]


def _final(net: Net, inference_id: str) -> dict[str, Any] | None:
    found = call(net.folders[0], {"op": "inference", "id": inference_id})
    return found if found["status"] in ("VALIDATED", "INVALIDATED", "EXPIRED") else None


@pytest.mark.parametrize(("extra", "field"), [
    ({"prompt": " "}, "prompt"), ({"max_tokens": "0"}, "max_tokens"), ({"max_tokens": "100000"}, "max_tokens"),
    ({"model": "gpt-9"}, "model"), ({"prompt": "x" * 70000}, "prompt"),
])
def test_a_bad_request_is_refused_by_name(net: Net, extra: dict[str, str], field: str) -> None:
    before = call(net.folders[0], {"op": "account", "account": _client(net)})["balance_micro"]
    done = net.ask(**extra)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["field"] == field
    assert call(net.folders[0], {"op": "account", "account": _client(net)})["balance_micro"] == before


def _client(net: Net) -> str:
    from p2p.keys import Key

    return Key.load(net.directory / "client" / "account.key").public.hex()


def test_kill_one_blocks_go_on_and_it_catches_up(net: Net) -> None:
    stop(net.directory, [net.folders[3].name], sign=signal.SIGKILL)
    top = net.height(0)
    until(lambda: net.height(0) >= top + 3)
    net.restart(3)
    goal = net.height(0)
    until(lambda: net.height(3) >= goal)
    until(lambda: net.height(0) > goal)
    assert {net.block(peer, goal)["app_hash"] for peer in range(4)} == {net.block(0, goal)["app_hash"]}
    assert {net.block(peer, goal)["block_id"] for peer in range(4)} == {net.block(0, goal)["block_id"]}


def test_stop_two_blocks_stop_nothing_forks_and_go_on(net: Net) -> None:
    stop(net.directory, [f.name for f in net.folders[2:]], sign=signal.SIGKILL)
    time.sleep(3)  # a block decided just before may still arrive
    top = max(net.height(0), net.height(1))
    time.sleep(6)  # nothing to await: the point is that nothing happens
    assert max(net.height(0), net.height(1)) == top
    for peer in (2, 3):
        net.restart(peer)
    until(lambda: min(net.height(peer) for peer in range(4)) >= top + 3)
    for height in range(1, top + 3):
        assert len({net.block(peer, height)["block_id"] for peer in range(4)}) == 1


def test_a_second_process_on_the_same_directory_is_refused(net: Net) -> None:
    argv = [sys.executable, "-m", "p2p", "serve", "--dir", str(net.folders[0]), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 6
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "locked"
    assert net.height(0) > 0
