"""`folkmoot config`: each value with where it comes from, as `serve` would have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2p.cli.main import main
from p2p.peer.config import SETTINGS
from testnet.generate import Plan, generate

CONFIG = '''# a comment with log_level = "debug"
network = "n"

listen = [
  "/ip4/127.0.0.1/tcp/1",
  "/ip4/127.0.0.1/tcp/2",
]
log_level = "error"
model = "m"
[[ml_nodes]]
name = "a"
model = "other"
url = "http://127.0.0.1:1"
'''


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["config", *words])
    said = capsys.readouterr()
    return status, json.loads(said.out or said.err)


def test_every_setting_has_an_origin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    words = ["show", "--origin", "--json", "--dir", str(tmp_path)]
    status, found = shown(capsys, *words)
    assert status == 0, found
    assert found.keys() == SETTINGS
    origins = {name: row["origin"] for name, row in found.items() if row["origin"] != "default"}
    lines = {"network": 2, "listen": 4, "log_level": 8, "model": 9, "ml_nodes": 10}
    assert origins == {name: f"config.toml, line {at}" for name, at in lines.items()}
    assert found["model"]["value"] == "m"
    monkeypatch.setenv("FOLKMOOT_LOG_LEVEL", "debug")
    _, found = shown(capsys, *words, "--", "--listen", "/ip4/127.0.0.1/tcp/9", "--tensor-parallel", "2")
    assert found["log_level"] == {"value": "debug", "origin": "environment FOLKMOOT_LOG_LEVEL"}
    assert found["listen"] == {"value": ["/ip4/127.0.0.1/tcp/9"], "origin": "option --listen"}
    assert found["engine_flags"]["value"] == ["--tensor-parallel-size", "2"]
    assert found["engine_flags"]["origin"].startswith("option")
    _, found = shown(capsys, *words, "--", "--log-level", "info")
    assert found["log_level"]["origin"] == "option --log-level"


def test_check_reads_the_genesis_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = generate(Plan(tmp_path, 1))
    status, found = shown(capsys, "check", "--json", "--dir", str(folder))
    assert (status, found["ok"]) == (0, True)
    assert found["network"].startswith("testnet@")
    (folder / "config.toml").write_text('network = "other"\n')
    status, found = shown(capsys, "check", "--json", "--dir", str(folder))
    assert (status, found["error"]["field"]) == (2, "network")


@pytest.mark.parametrize("words", [["--nonsense"], ["--engine", "x"]])
def test_options_that_serve_has_not_are_refused(tmp_path: Path, capsys: Any, words: list[str]) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    status, found = shown(capsys, "show", "--json", "--dir", str(tmp_path), "--", *words)
    assert (status, found["error"]["field"]) == (2, "options")
