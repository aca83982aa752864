"""top: what it shows is pure; the command gives the terminal back on every way out."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from p2p.base.errors import InvalidRequest
from p2p.cli.gpus import rows_of
from p2p.cli.main import main
from p2p.cli.terminal.styled import Look, plain, render
from p2p.cli.terminal.width import width_of
from p2p.cli.top_view import TABS, Snapshot, plain_view, rate, view
from p2p.peer.control import serve_control, socket_path
from p2p.wire.answers.network import EpochSumsRow
from tests.cli.terminal import Terminal
from tests.wire.statuses import owner_status

NODE = "ab" * 32
EARNINGS = {
    "epoch": 3, "first_height": 90, "last_height": 119, "inferences": [{}, {}],
    "own": dict.fromkeys(("fees_micro", "paid_micro", "reward_micro", "duties_micro", "bounty_micro", "forfeited_micro",
                          "slashed_micro", "fined_micro", "withheld_micro", "work"), 1_500_000),
}


def block(height: int) -> dict[str, Any]:
    records = [{"kind": "FINISH", "inference_id": "00" * 32}] if height % 2 else []
    return {
        "height": height, "time_ms": 1000 * height, "commit_round": 0, "round": 0, "txs": 1, "signatures": 3,
        "records": records, "refused": [], **dict.fromkeys(("proposer", "block_id", "app_hash", "beacon"), NODE),
    }


def snapshot(**changed: Any) -> Snapshot:
    status = {"network": "net@00", "peer_id": "12D3Koo", "state": "ready", "height": 100, "last_time_ms": 99_000,
              "jobs": 2, "connections": 3, "registered": True, "node": NODE}
    blocks = tuple(block(height) for height in range(100, 90, -1))
    nodes = ({"name": "gpu0", "state": "ready", "jobs": 1, "max_jobs": 16, "kv_usage": 0.25, "kv_tokens": 1000,
              "engine_running": 1, "engine_waiting": 0, "model": "模型-1"},)
    gpus = rows_of("NVIDIA H200, 37, 1024, 143771, 44, 210.5\n")
    known: dict[str, Any] = {
        "time_ms": 100_000, "status": status, "blocks": blocks, "ml_nodes": nodes, "gpus": gpus, "peers": ("a", "b"),
        "balance_micro": 2_500_000, "earnings": EARNINGS, "requests_a_s": rate(blocks),
    }
    return Snapshot(**{**known, **changed})


@given(columns=st.integers(1, 200), height=st.integers(1, 60), tab=st.integers(0, 9), scroll=st.integers(-5, 99))
@settings(max_examples=60)
def test_the_view_fits_every_screen(columns: int, height: int, tab: int, scroll: int) -> None:
    lines, most = view(snapshot(), tab, scroll, columns, height)
    assert len(lines) <= height
    assert most >= 0
    look = Look(True, False, columns)
    assert all(width_of(render(one, look)) <= columns for one in lines)


def test_each_page_shows_its_figures() -> None:
    pages = {name: "\n".join(plain(one) for one in view(snapshot(), at, 0, 160, 40)[0]) for at, name in enumerate(TABS)}
    assert "2.5 credits" in pages["overview"]
    assert "0.44 finished a second" in pages["overview"]
    assert "FINISH" in pages["blocks"]
    assert "NVIDIA H200" in pages["engine"]
    assert "25 %" in pages["engine"]
    assert "模型-1" in pages["engine"]
    assert "1.5 credits" in pages["earnings"]
    everything = "\n".join(map(plain, plain_view(snapshot())))
    assert "NVIDIA H200" in everything
    assert "1.5 credits" in everything


def test_what_is_not_known_is_said() -> None:
    seen = snapshot(ml_nodes=(), gpus=(), peers=(), earnings=None, missing={"engine": "the owner's alone"})
    assert "the owner's alone" in "\n".join(map(plain, plain_view(seen)))
    old = snapshot(time_ms=500_000, status={**snapshot().status, "alone": "nobody is reached"})
    lines = view(old, 0, 0, 100, 30)[0]
    spans = [span for line in lines for span in line if not isinstance(span, str)]
    assert any(span.style == "red" and "ago" in span.text for span in spans)
    assert "nobody is reached" in "\n".join(map(plain, lines))


def test_gpus_that_say_nonsense_are_none() -> None:
    assert rows_of("") == ()
    assert rows_of("a, b\n") == ()
    assert rows_of("X, [N/A], 1, 2, 3, inf\n")[0]["used_percent"] is None


# -- on a terminal -----------------------------------------------------------------------------------------------------


def answer(request: dict[str, Any]) -> dict[str, Any]:
    seen = snapshot()
    status = to_builtins(owner_status())
    known: dict[str, dict[str, Any]] = {
        "status": {**status, "height": 101, "registered": True}, "sprint": {"height": 101, "epoch": 3, "phase": "none"},
        "earnings": {**EARNINGS, "height": 101, "node": NODE, "kept": True, "inferences": [], "next": -1, "open": [],
                     "sums": dict.fromkeys(EpochSumsRow.__struct_fields__, 0)},
        "peers": {"peers": [{"peer_id": "peer-x"}]},
        "ml_list": {"ml_nodes": list(seen.ml_nodes)}, "block": block(request.get("height", 1)),
    }
    if request["op"] not in known:
        raise InvalidRequest("not here", field="op")
    return known[request["op"]]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Path]:
    """A folder in which something answers like a peer."""
    stop: list[trio.CancelScope] = []
    ready = threading.Event()

    async def serve() -> None:
        with trio.CancelScope() as scope:
            stop.append(scope)
            token.append(trio.lowlevel.current_trio_token())
            ready.set()
            await serve_control(tmp_path, answer)

    token: list[Any] = []
    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    ready.wait(60)
    while not socket_path(tmp_path).exists():
        time.sleep(0.01)
    yield tmp_path
    token[0].run_sync_soon(stop[0].cancel)
    thread.join(60)


def test_one_look_names_the_peers_and_the_ml_nodes(peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--json", "--dir", str(peer)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["peers"] == ["peer-x"]
    assert [one["name"] for one in seen["ml_nodes"]] == ["gpu0"]


def test_keys_and_a_new_size_move_the_view_and_q_gives_the_terminal_back(peer: Path) -> None:
    shown = Terminal(["top", "--dir", str(peer), "--every", "0.2"])
    try:
        shown.until(b"ML node")
        shown.type(b"\x1b[C")
        shown.until(b"FINISH")
        shown.type(b"\x1b[C")
        shown.until(b"KV cache")
        shown.resize(60, 12)
        os.killpg(shown.process.pid, signal.SIGWINCH)
        shown.until(b"folkmoot top")
        shown.type(b"q")
        assert shown.end() == 0
        assert shown.is_as_before()
    finally:
        shown.close()


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_gives_the_terminal_back(peer: Path, sign: signal.Signals, status: int) -> None:
    shown = Terminal(["top", "--dir", str(peer)])
    try:
        shown.until(b"q quit")
        shown.process.send_signal(sign)
        assert shown.end() == status
        assert shown.is_as_before()
    finally:
        shown.close()


def test_a_stop_gives_the_terminal_back_and_going_on_takes_it_again(peer: Path) -> None:
    """Ctrl-Z. Here no shell waits, so the system lets the program go on at once."""
    shown = Terminal(["top", "--dir", str(peer)])
    try:
        shown.until(b"q quit")
        shown.process.send_signal(signal.SIGTSTP)
        shown.until(b"\x1b[?1049l")
        shown.until(b"\x1b[?1049h")
        shown.until(b"q quit")
        shown.type(b"q")
        assert shown.end() == 0
        assert shown.is_as_before()
    finally:
        shown.close()


def test_an_error_gives_the_terminal_back(peer: Path) -> None:
    """The peer's socket goes: it is said, and the view goes on."""
    shown = Terminal(["top", "--dir", str(peer), "--every", "0.2"])
    try:
        shown.until(b"q quit")
        socket_path(peer).unlink()
        shown.until(b"no answer")
        shown.type(b"q")
        assert shown.end() == 0
        assert shown.is_as_before()
    finally:
        shown.close()
