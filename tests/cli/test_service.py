"""The systemd unit: systemd itself reads it, and nothing is written but the one file."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from p2p.cli import service
from p2p.cli.main import main

HAS_SYSTEMD = shutil.which("systemd-analyze") is not None


def verify(file: Path, manager: str) -> str:
    """What systemd finds wrong with a unit."""
    runtime = file.parent / "run"
    runtime.mkdir(exist_ok=True)
    words = ["systemd-analyze", "verify", f"--{manager}", "--man=no", str(file)]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": str(runtime), "HOME": str(file.parent)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=env)
    return done.stderr if done.returncode or file.name in done.stderr else ""


@pytest.mark.skipif(not HAS_SYSTEMD, reason="this machine has no systemd-analyze")
@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, user: str | None) -> None:
    folder = tmp_path / "a peer 100% $mine"
    folder.mkdir()
    file = tmp_path / "folkmoot-test.service"
    file.write_text(service.unit(folder, service.program(), user))
    assert verify(file, "user" if user is None else "system") == ""
    file.write_text(file.read_text().replace("Restart=on-failure", "Restart=sometimes"))
    assert "sometimes" in verify(file, "user" if user is None else "system"), "a fault is found"


@pytest.mark.skipif(not HAS_SYSTEMD, reason="this machine has no systemd-analyze")
def test_the_units_exposure_is_small(tmp_path: Path) -> None:
    file = tmp_path / "folkmoot-test.service"
    file.write_text(service.unit(tmp_path, service.program(), "nobody"))
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_install_writes_one_file_and_uninstall_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "p"

    def run(*words: str) -> tuple[int, Any]:
        status = main(["service", *words, "--dir", str(folder), "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out or said.err)

    assert run("install")[1]["error"]["field"] == "dir", "no peer's folder"
    assert run("uninstall")[1]["error"]["field"] == "name", "nothing to remove"
    folder.mkdir()
    (folder / "config.toml").write_text("")
    status, found = run("install")
    file = tmp_path / "config" / "systemd" / "user" / "folkmoot.service"
    assert (status, found["file"]) == (0, str(file))
    assert f"serve --dir {folder}" in file.read_text()
    assert ["systemctl", "--user", "enable", "--now", "folkmoot.service"] in found["commands"]
    assert run("show")[1]["unit"] == file.read_text()
    assert run("uninstall")[0] == 0
    assert [path for path in (tmp_path / "config").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("words", "field"), [
    (["--user", "x"], "user"), (["--name", "a/b"], "name"), (["--system", "--dir", "/nonexistent"], "user"),
    (["--dir", 'a"b'], "dir"),
])
def test_what_cannot_be_a_unit_names_its_option(words: list[str], field: str, capsys: Any) -> None:
    assert main(["service", "show", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["field"] == field
