"""Processes that are forked are processes like others: what they say, where they run, how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm

PYTHON = (sys.executable, "-m")
PROBE = """
import json, os, signal, sys
found = {
    "name": __name__, "argv": sys.argv[1:], "pid": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0),
    "cwd": os.getcwd(), "env": dict(os.environ), "files": sorted(os.listdir("/proc/self/fd")), "hash": hash("word"),
    "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}
print(json.dumps(found), flush=True)
print("words", file=sys.stderr)
if sys.argv[1:] == ["dies"]:
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1:] == ["hangs"]:
    signal.pause()
raise SystemExit(7)
"""


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module `probe`, which tells what it is."""
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setattr(warm, "MODULES", (*warm.MODULES, "probe"))
    return tmp_path


def seen(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stderr == "words\n"
    return dict(json.loads(done.stdout))


def test_a_command_says_and_ends_as_when_it_is_started_by_itself(tmp_path: Path) -> None:
    for words in (["p2p", "--version"], ["p2p", "serve"], ["p2p", "key", "show", str(tmp_path)]):
        alone = subprocess.run([*PYTHON, *words], capture_output=True, text=True, timeout=300, check=False)
        forked = warm.run([*PYTHON, *words], 300)
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_it_is_a_process_of_its_own_that_runs_where_its_maker_is(probe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBED", "by a test")
    monkeypatch.delenv("HOME", raising=False)
    done = [warm.run([*PYTHON, "probe", "a", "b c"], 300, probe) for _ in range(4)]
    found = [seen(one) for one in done]
    assert {one.returncode for one in done} == {7}
    assert len({one["pid"] for one in found}) == 4
    for one in found:
        assert one["pid"] == one["group"] == one["session"]
        assert (one["name"], one["argv"], one["cwd"]) == ("__main__", ["a", "b c"], str(probe))
        assert one["env"] == dict(os.environ)
        assert len(one["files"]) == 4, "its three, and the one that lists them"
        assert one["child"], "it may wait for children of its own"


def test_two_that_follow_each_other_hash_words_in_different_ways(probe: Path) -> None:
    first, second = (seen(warm.run([*PYTHON, "probe"], 300, probe))["hash"] for _ in range(2))
    assert first != second


def test_how_it_ended_is_told(probe: Path) -> None:
    assert warm.run([*PYTHON, "probe", "dies"], 300, probe).returncode == -signal.SIGKILL


def test_one_that_takes_too_long_is_killed(probe: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run([*PYTHON, "probe", "hangs"], 1.0, probe)


def test_other_programs_are_started_as_usual(probe: Path) -> None:
    assert warm.asked(["sleep", "1"], None, None) is None
    assert warm.asked([*PYTHON, "testnet.guard", "x"], None, None) is None
    assert warm.run(["echo", "yes"], 300).stdout == "yes\n"


def test_the_parents_end_with_the_test_process() -> None:
    parent = warm.Parent.new("3")
    parent.to.close()
    assert parent.process.wait(300) == 0
