"""`folkmoot testnet`: eight peers start from one address; a full disk halts one peer with a sentence; nothing stays
running.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.peer.control import call
from testnet import processes
from testnet.processes import start_peer, stop
from testnet.state_file import alive, read_state
from tests import warm
from tests.net_lab import Net, until

pytestmark = pytest.mark.network


def folkmoot(*argv: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "p2p", *argv], 200)


def test_eight_peers_from_one_bootstrap_address_alone(tmp_path: Path) -> None:
    where = ("--dir", str(tmp_path / "net"))
    up = folkmoot("testnet", "up", "--peers", "8", *where)
    try:
        assert up.returncode == 0, up.stderr
        bootstrap = up.stdout.splitlines()[-1].removeprefix("bootstrap ")
        entries = read_state(tmp_path / "net")["processes"]
        told = [[word for word in entry["argv"] if "/p2p/" in word] for entry in entries.values()]
        assert sorted(told) == [[]] + [[bootstrap]] * 7
        for number in range(1, 9):
            done = folkmoot("peers", "--dir", str(tmp_path / "net" / f"peer{number}"), "--json")
            assert len(json.loads(done.stdout)["peers"]) >= 4
        until(lambda: call(tmp_path / "net" / "peer8", {"op": "status"})["height"] >= 3)
        again = folkmoot("testnet", "up", "--peers", "2", *where)
        assert again.returncode == 2
        assert "testnet down" in again.stderr
    finally:
        down = folkmoot("testnet", "down", *where)
    assert down.returncode == 0
    assert not any(map(alive, entries.values()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, which needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_halts_the_peer_with_a_sentence_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    net = Net(tmp_path / "net", 4, settings={"empty_block_interval_ms": 150, "block_interval_ms": 100})
    try:
        peer = net.folders[3]
        process = read_state(net.directory)["processes"][peer.name]
        stop(net.directory, [peer.name])
        for file in (peer / "data").iterdir():
            (small_disk / file.name).write_bytes(file.read_bytes())
            file.unlink()
        (peer / "data").rmdir()
        (peer / "data").symlink_to(small_disk)
        (small_disk / "ballast").write_bytes(b"x" * (_free(small_disk) - 64 * 1024))
        start_peer(net.directory, peer, net.bootstrap, net.urls[peer.name])
        process = read_state(net.directory)["processes"][peer.name]
        until(lambda: not alive(process), 90)
        log = (peer / "log" / "peer.log").read_text()
        assert "error: store: " in log, log[-2000:]
        assert "free space" in log
        top = net.height(0)
        until(lambda: net.height(0) >= top + 2)
        (small_disk / "ballast").unlink()
        net.restart(3)
        goal = net.height(0)
        until(lambda: net.height(3) >= goal)
        assert net.block(3, goal) == net.block(0, goal)
    finally:
        net.close()


def _free(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


def test_ctrl_c_while_a_process_starts_leaves_it_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, it was stopped by nobody: a run that was interrupted while it started a peer left that peer."""
    def interrupted(*what: Any) -> int:
        pid = processes.popen(*what)
        os.kill(os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(processes, "spawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        processes.launch("one", ["sleep", "600"], tmp_path / "log", tmp_path)
    assert processes.stop(tmp_path) == ["one"]
