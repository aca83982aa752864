"""Where each client is installed: a virtual environment or an npm folder of its own, kept for the next run.

Law: what is installed is exactly what matrix.py names; a failure says why, and stops one client only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.interop.node_js import node
from tests.tools.clients.matrix import Client, Kind

INSTALL_S = 1200.0  # the longest an installation may take
FREE_BYTES = 3 * 10**9  # of disk that must be free before one begins
BEAT_S = 10.0  # between two lines of progress
Say = Callable[[str], None]


class InstallError(Exception):
    """A client could not be installed; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """How a client's script is run."""

    program: tuple[str, ...]  # the interpreter; the script's path follows
    folder: Path  # the environment; scripts of Node are copied there, because only so do they find their packages
    path: tuple[str, ...]  # folders of programs, first in PATH
    version: str  # of the client, as installed


def prepare(client: Client, cache: Path, say: Say) -> Environment:
    """The environment of `client` below `cache`, installed if it is not yet. Raises InstallError."""
    folder = cache / re.sub(r"[^a-z0-9]+", "-", client.name.lower()).strip("-")
    if client.kind is Kind.MAIN:
        folder.mkdir(parents=True, exist_ok=True)
        return Environment((sys.executable,), folder, (str(Path(sys.executable).parent),), _version(client))
    make = _virtual if client.kind is Kind.PYPI else _npm
    wanted = hashlib.sha256(repr((client.packages, client.shared, sys.version_info[:2])).encode()).hexdigest()
    mark = folder / ".installed"
    if not mark.exists() or mark.read_text() != wanted:
        free = shutil.disk_usage(cache if cache.exists() else Path.cwd()).free
        if free < FREE_BYTES:
            raise InstallError(f"only {free / 1e9:.1f} GB of disk are free, {FREE_BYTES / 1e9:.0f} GB are wanted")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        make(client, folder, say)
        mark.write_text(wanted)
        say(f"{client.name}: installed in {time.monotonic() - started:.0f} s, {_bytes(folder) / 1e6:.0f} MB")
    if client.kind is Kind.PYPI:
        return Environment((str(folder / "bin" / "python"),), folder, (str(folder / "bin"),), client.version)
    found = node()
    assert found is not None  # _npm has looked
    # Scripts of programs are Python (they start the program and judge it); those of libraries are modules of Node.
    program = found[0] if client.script.endswith(".mjs") else sys.executable
    return Environment(
        (program,), folder, (str(folder / "node_modules" / ".bin"), str(Path(found[0]).parent)), client.version
    )


def _virtual(client: Client, folder: Path, say: Say) -> None:
    _command(client, [sys.executable, "-m", "venv", "--without-pip", str(folder)], folder, say)
    if client.shared:
        # Packages of this project come after the client's own: pip finds what fits there and installs the rest.
        inside = next(folder.glob("lib/python*/site-packages"))
        (inside / "folkmoot-shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    _command(client, [*pip, "install", "--no-warn-script-location", *client.packages], folder, say)


def _npm(client: Client, folder: Path, say: Say) -> None:
    found = node()
    if found is None:
        raise InstallError("no Node.js of version 22.18 or newer: run `make .venv/.node`")
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
    install = ["install", "--no-audit", "--no-fund", "--loglevel=warn", "--save-exact"]
    os.environ["PATH"] = f"{Path(found[0]).parent}{os.pathsep}{os.environ['PATH']}"  # for scripts of packages
    _command(client, [*found[1], *install, *client.packages], folder, say)


def _command(client: Client, command: Sequence[str], folder: Path, say: Say) -> None:
    """Run an installer with its output in install.log, and say every BEAT_S what it is at."""
    log, started, told = folder.parent / f"{folder.name}.log", time.monotonic(), time.monotonic()
    with log.open("ab") as out:
        child = subprocess.Popen(list(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while True:
                try:
                    child.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    now = time.monotonic()
                    if now - started > INSTALL_S:
                        raise InstallError(f"it was not installed in {INSTALL_S:.0f} s; see {log}") from None
                    if now - told >= BEAT_S:
                        told = now
                        say(f"{client.name}: {now - started:.0f} s, {_last(log)[:100]}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if child.returncode:
        raise InstallError(f"the installer ended with {child.returncode}: {_reason(log)}")


def _last(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "starting"


def _reason(log: Path) -> str:
    """The lines of a log that say what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)] or lines
    return " | ".join(errors[-3:])[:400]


def _version(client: Client) -> str:
    if client.version_of == "curl":
        said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=False).stdout.split()
        return said[1] if len(said) > 1 else ""
    try:
        return metadata.version(client.version_of) if client.version_of else ""
    except metadata.PackageNotFoundError:
        return ""


def _bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
