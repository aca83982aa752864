"""`folkmoot ml` with a peer that answers on its control socket, and without one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.errors import InvalidRequest
from p2p.cli.main import main
from p2p.peer.config import load_config
from p2p.peer.control import serve_control, socket_path

ROW = {
    "name": "a", "model": "m", "where": "http://x", "state": "ready", "jobs": 3, "max_jobs": 16, "kv_tokens": 46592,
    "kv_usage": 0.25, "engine_running": 4, "engine_waiting": 2, "tokens_per_s": 90.0, "starts": 1, "said": "loads",
}


class FakePeer:
    """Answers as a peer does, in a thread of its own, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.answer = folder, list[dict[str, Any]](), {"ml_nodes": [ROW]}
        self._ends, self._runs = trio.CancelScope(), threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._serve))
        self._thread.start()
        self._runs.wait()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._ends:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_control, self.folder, self._handle)
                while not socket_path(self.folder).exists():
                    await trio.sleep(0.01)
                self._runs.set()

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if request.get("name") == "unknown":
            raise InvalidRequest("no ML node is called 'unknown'; there are: a", field="name")
        return self.answer

    def close(self) -> None:
        self._token.run_sync_soon(self._ends.cancel)
        self._thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text("# settings\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    return tmp_path


@pytest.fixture
def peer(folder: Path) -> Iterator[FakePeer]:
    made = FakePeer(folder)
    yield made
    made.close()


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str, str]:
    status = main(["ml", *words, "--dir", str(folder)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_list_of_a_running_peer(peer: FakePeer, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, peer.folder, "list")
    assert status == 0
    head, row, said = out.splitlines()
    assert head.split()[:3] == ["name", "state", "jobs"]
    assert "25 % of 46592" in row
    assert "4 running, 2 waiting" in row
    assert said == "a: loads"
    status, out, _ = run(capsys, peer.folder, "list", "--json")
    assert json.loads(out) == {"ml_nodes": [ROW]}


def test_a_running_peer_is_told_what_to_change(
    peer: FakePeer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(peer.folder)
    assert run(
        capsys, peer.folder, "add", "b", "--model", "m", "--path", "model", "--tensor-parallel", "2",
        "--flag=--device-ids=0,1", "--max-jobs", "64",
    )[0] == 0
    assert run(capsys, peer.folder, "drain", "a")[0] == 0
    assert run(capsys, peer.folder, "drain", "a", "--undo")[0] == 0
    assert run(capsys, peer.folder, "remove", "a", "--now")[0] == 0
    assert peer.asked == [
        {"op": "ml_add", "entry": {
            "name": "b", "model": "m", "path": str(peer.folder / "model"), "flags": ["--device-ids=0,1"],
            "tensor_parallel": 2, "pipeline_parallel": 1, "max_jobs": 64,
        }},
        {"op": "ml_drain", "name": "a", "on": True}, {"op": "ml_drain", "name": "a", "on": False},
        {"op": "ml_remove", "name": "a", "now": True},
    ]
    assert (peer.folder / "config.toml").read_text() == "# settings\n", "the peer itself keeps it"
    status, _, err = run(capsys, peer.folder, "remove", "unknown")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "there are: a" in err


def test_an_answer_that_is_none_is_a_sentence(peer: FakePeer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answer = {"ml_nodes": 7}  # type: ignore[dict-item]
    status, _, err = run(capsys, peer.folder, "list")
    assert (status, len(err.splitlines())) == (5, 1)
    peer.answer = {"ml_nodes": [{}]}
    assert run(capsys, peer.folder, "list")[0] == 0


def test_without_a_peer_the_settings_are_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no ML node" in run(capsys, folder, "list")[1]
    status, out, _ = run(capsys, folder, "add", "a", "--model", "m", "--url", "http://127.0.0.1:8000")
    assert status == 0
    assert "not running" in out
    assert run(capsys, folder, "add", "b", "--model", "k", "--path", str(folder / "model"))[0] == 0
    assert [one.name for one in load_config(folder).ml_nodes] == ["a", "b"]
    status, _, err = run(capsys, folder, "add", "a", "--model", "m", "--url", "http://127.0.0.1:8000")
    assert status == 2
    assert "another ML node has that name" in err
    assert run(capsys, folder, "remove", "a")[0] == 0
    assert [one.name for one in load_config(folder).ml_nodes] == ["b"]
    assert run(capsys, folder, "remove", "a")[0] == 2
    assert run(capsys, folder, "drain", "b")[0] == 5


@pytest.mark.parametrize("words", [
    ["add", "a"], ["add", "a", "--model", "m"], ["add", "a", "--model", "m", "--url", "x", "--path", "y"],
    ["add", "a", "--model", "m", "--url", "ftp://x"], ["add", "a b", "--model", "m", "--url", "http://x"],
    ["add", "a", "--model", "m", "--url", "http://x", "--max-jobs", "0"], [], ["unknown"], ["remove"],
])
def test_wrong_words_are_one_line(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, folder, *words)
    assert (status, len(err.splitlines())) == (2, 1)
    assert (folder / "config.toml").read_text() == "# settings\n"


def test_a_socket_that_a_killed_peer_left_is_no_peer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / "control.sock"))
    left.close()
    assert "no ML node" in run(capsys, folder, "list")[1]
