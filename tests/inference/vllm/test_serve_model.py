"""`folkmoot serve --model PATH`: joining, loading, ready; however the peer ends, its vLLM ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2p.inference.stack.model import prepare_model
from p2p.peer.control import call
from testnet.generate import Plan, generate


def engines(directory: Path) -> list[int]:
    """Processes whose command line names this test's own copy of the model."""
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


def gone(directory: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while engines(directory) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not engines(directory)


@pytest.mark.engine
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_serve_with_an_own_model(tmp_path: Path, sign: signal.Signals) -> None:
    model = tmp_path / "model"
    os.symlink(prepare_model(), model)
    folder = generate(Plan(tmp_path / "net", 1))[0]
    argv = [
        sys.executable, "-m", "p2p", "serve", "--json", "--dir", str(folder), "--model", str(model),
        "--engine-flag=--seed=7",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as peer:
        states = []
        try:
            assert peer.stdout is not None
            for line in peer.stdout:
                states.append(json.loads(line)["state"])
                if states[-1] == "ready":
                    break
            assert list(dict.fromkeys(states)) == ["joining", "loading", "ready"]
            assert call(folder, {"op": "status"})["state"] == "ready"
            words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in engines(model)]
            assert any(b"--seed=7" in w for w in words), "engine flags are passed through"
        finally:
            peer.send_signal(sign)
        peer.wait(30)
    assert gone(model, 30), "vLLM outlived its peer"
