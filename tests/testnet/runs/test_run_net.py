"""`folkmoot testnet run` with real processes: it holds, shows and reports; interrupted or killed it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testnet.fabric import fabric
from testnet.runs.leftovers import entries, sweep
from testnet.runs.result import read_result
from testnet.state_file import alive, read_state
from tests import warm

pytestmark = pytest.mark.network
MANIFEST = """
name = "test-3"
about = "Three peers, one killed."
seconds = 14
{more}
[network]
validation_window = 12
reveal_window = 5
appeal_window = 0
[[peers]]
name = "host"
role = "host"
count = 3
engine = "simulated"
[[peers]]
name = "client"
role = "client"
[load]
rate = 1.0
max_tokens = 6
[[perturbations]]
at_s = 3
kind = "{kind}"
peers = ["host3"]
for_s = 4
[checks]
answered_percent = 30
"""
LIMIT_S = 240.0


class Started:
    """The command as a process, and what it has printed."""

    def __init__(self, tmp_path: Path, kind: str = "kill", more: str = "") -> None:
        self.directory = tmp_path / "net"
        (tmp_path / "net.toml").write_text(MANIFEST.format(kind=kind, more=more))
        self.out = tmp_path / "out.txt"
        command = [sys.executable, "-m", "p2p", "testnet", "run", str(tmp_path / "net.toml"), "--dir",
                   str(self.directory)]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def text(self) -> str:
        return self.out.read_text()

    def wait(self, good: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not good():
            assert time.monotonic() < deadline, self.text()
            assert self.process.poll() is None or good(), self.text()
            time.sleep(0.1)

    def ended(self) -> int:
        return self.process.wait(LIMIT_S)

    def entry(self) -> str:
        return next(entry.run for entry in entries() if entry.pid == self.process.pid)

    def processes(self) -> list[str]:
        return [name for name, entry in read_state(self.directory)["processes"].items() if alive(entry)]


def folkmoot(*words: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "p2p", "testnet", *words], LIMIT_S)


def test_a_run_holds_can_be_looked_into_and_is_reported(tmp_path: Path) -> None:
    run = Started(tmp_path)
    run.wait(lambda: "4/8 load" in run.text())
    where = ("--dir", str(run.directory))
    assert f"running: test-3 in {run.directory}" in folkmoot("ls").stdout
    assert "ready" in folkmoot("logs", *where, "host1").stdout
    assert folkmoot("exec", *where, "host1", "--", "echo", "inside").stdout == "inside\n"
    assert "there are client, client1, host1" in folkmoot("logs", *where, "nobody").stderr
    assert run.ended() == 0, run.text()
    result = read_result(run.directory)
    assert result.good
    assert [event.kind for event in result.events] == ["kill"]
    assert result.events[0].healed_s is not None
    assert any(answer.tokens for answer in result.answers)
    assert "All checks hold" in (run.directory / "report.html").read_text()
    assert run.processes() == []
    again = folkmoot("report", *where)
    assert again.returncode == 0
    assert "test-3, seed 0: all checks hold" in again.stdout
    assert folkmoot("exec", *where, "host1", "--", "true").returncode == 2, "it is over"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, sign: int) -> None:
    run = Started(tmp_path)
    run.wait(lambda: "2/8 start" in run.text() and len(run.processes()) >= 2)
    entry = run.entry()
    run.process.send_signal(sign)
    assert run.ended() != 0
    assert run.processes() == []
    assert entry not in [one.run for one in entries()]


def test_what_a_killed_run_left_is_removed_by_the_next_which_says_so(tmp_path: Path) -> None:
    run = Started(tmp_path)
    run.wait(lambda: len(run.processes()) >= 2)
    entry, said = run.entry(), list[str]()
    run.process.kill()
    run.process.wait()
    assert entry in [one.run for one in entries()]
    deadline = time.monotonic() + LIMIT_S
    while entry in [one.run for one in entries()]:  # another run, of another test, may be sweeping
        assert time.monotonic() < deadline
        sweep(said.append)
    assert run.processes() == []


@pytest.mark.skipif(os.geteuid() != 0 or bool(fabric.missing()), reason="addresses of their own need root, ip and nft")
def test_a_partition_in_a_fabric_heals(tmp_path: Path) -> None:
    run = Started(tmp_path, "partition")
    run.wait(lambda: "4/8 load" in run.text())
    entry = run.entry()
    assert fabric.leftovers(entry), "it has its namespaces"
    assert run.ended() == 0, run.text()
    result = read_result(run.directory)
    assert all(member.address.startswith("/ip4/11.") for member in result.members)
    assert [event.kind for event in result.events] == ["partition"]
    assert fabric.leftovers(entry) == []
