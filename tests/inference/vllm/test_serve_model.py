"""`folkmoot serve --model PATH`: joining, loading, ready; however and whenever the peer ends, its vLLM ends with it."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from p2p.inference.stack.model import prepare_model
from p2p.peer.control import call
from testnet.generate import Plan, generate
from tests.held import held
from tests.net_lab import until

PATIENCE_S = 120.0


def engines(directory: Path) -> list[int]:
    """Ids of the processes whose command line names this test's own copy of the model."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in words and b"p2p.inference.vllm.main" in words:
                found.append(int(entry.name))
    return found


def ended(processes: list[int]) -> bool:
    """Whether all of them end within PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
        finally:
            os.close(handle)
    return True


@pytest.mark.engine
@pytest.mark.parametrize(("state", "sign"), [("loading", signal.SIGTERM), ("ready", signal.SIGKILL)])
def test_serve_with_an_own_model(tmp_path: Path, state: str, sign: signal.Signals) -> None:
    """One loading to the end is enough. A ready engine's clean end is in test_vllm.py; here it ends without a word."""
    model = tmp_path / "model"
    os.symlink(prepare_model(), model)
    folder = generate(Plan(tmp_path / "net", 1, model_dir=prepare_model()))[0]
    argv = [sys.executable, "-m", "p2p", "serve", "--json", "--dir", str(folder), "--model", str(model)]
    argv.append("--engine-flag=--seed=7")
    with held(argv, quiet=True) as peer:
        states: list[str] = []
        running: list[int] = []
        try:
            assert peer.stdout is not None
            for line in peer.stdout:
                states.append(json.loads(line)["state"])
                if states[-1] == state:
                    break
            expected = ["joining", "loading", "ready"]
            assert list(dict.fromkeys(states)) == expected[: expected.index(state) + 1]
            until(lambda: call(folder, {"op": "status"})["state"] == state, PATIENCE_S)
            running = until(lambda: engines(model), PATIENCE_S)
            words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in running]
            assert any(b"--seed=7" in w for w in words), "engine flags are passed through"
        finally:
            peer.send_signal(sign)
        peer.wait(PATIENCE_S)
        assert ended(running), "vLLM outlived its peer"
    assert not engines(model), "another vLLM was started"
