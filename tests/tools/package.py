"""`make package`: builds wheel and sdist, and uses both as a stranger does: in new environments, outside the sources.

Law: nothing of the repository can be imported, nothing is left behind, and each command is printed with its time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEP_S = 900.0
# what is not code, and missing from a wheel would only be noticed by its user
DATA = (
    "bootstrap/networks/example.toml", "p2p/py.typed", "p2p/verification/profiles/SmolLM2-135M-Instruct.json",
    "p2p/verification/prompts/prompts.jsonl", "testnet/simulated_profile.json", "testnet/manifest/shipped/smoke-4.toml",
)


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command; print it with its time. Raises SystemExit with its output where it fails."""
    begun = time.monotonic()
    # neither this environment's packages nor the repository's can be seen
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True, timeout=STEP_S,
        check=False,
    )
    shown = " ".join(Path(str(word)).name if os.path.isabs(word) else str(word) for word in words)
    print(f"[{time.monotonic() - begun:6.1f} s] {shown}", flush=True)
    if done.returncode:
        raise SystemExit(f"failed with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def check_wheel(wheel: Path) -> None:
    """Raises SystemExit where a file of data is missing, or something is in it that should not be."""
    names = set(zipfile.ZipFile(wheel).namelist())
    if missing := [name for name in DATA if name not in names]:
        raise SystemExit(f"{wheel.name} lacks {missing}")
    if strange := [name for name in names if name.startswith(("tests/", "docs/")) or "__pycache__" in name]:
        raise SystemExit(f"{wheel.name} has {strange[:3]}")


def build(work: Path) -> tuple[Path, Path]:
    """(wheel, sdist), built from a copy, so that nothing is written into the repository."""
    tools = work / "tools"
    run(sys.executable, "-m", "venv", tools, cwd=work)
    run(tools / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "build", "pipx", cwd=work)
    source = work / "source"
    source.mkdir()
    for name in ("p2p", "bootstrap", "testnet", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run(tools / "bin" / "python", "-m", "build", "--outdir", work / "dist", source, cwd=work)
    return next((work / "dist").glob("*.whl")), next((work / "dist").glob("*.tar.gz"))


def join_a_network(folkmoot: Path, work: Path) -> None:
    """A local network from the installed package, and a newcomer that joins it by the network's file."""
    net, new = work / "net", work / "new"
    run(folkmoot, "testnet", "up", "--peers", "3", "--dir", net, cwd=work)
    try:
        print(run(
            folkmoot, "join", net / "network.toml", "--dir", new, "--listen", "/ip4/127.0.0.1/tcp/0", "--then-stop",
            cwd=work,
        ), end="")
        address = (net / "network.toml").read_text().split('"/ip4')[1].split('"')[0]
        run(folkmoot, "ping", "/ip4" + address, "--dir", new, cwd=work)
    finally:
        run(folkmoot, "testnet", "down", "--dir", net, cwd=work)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.package", description=__doc__)
    parser.add_argument("--out", type=Path, help="a folder in which wheel and sdist are left")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="folkmoot-package-") as scratch:
        work = Path(scratch)
        wheel, sdist = build(work)
        check_wheel(wheel)
        fresh = work / "fresh"
        run(sys.executable, "-m", "venv", fresh, cwd=work)
        folkmoot = fresh / "bin" / "folkmoot"
        pip = [fresh / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, wheel, cwd=work)
        run(folkmoot, "--help", cwd=work)
        join_a_network(folkmoot, work)
        run(*pip, "--no-deps", "--force-reinstall", sdist, cwd=work)
        run(folkmoot, "service", "show", cwd=work)
        home = {"PIPX_HOME": str(work / "pipx"), "PIPX_BIN_DIR": str(work / "bin")}
        run(work / "tools" / "bin" / "pipx", "run", "--spec", wheel, "folkmoot", "--help", cwd=work, env=home)
        print(f"{wheel.name}: {wheel.stat().st_size // 1000} kB; {sdist.name}: {sdist.stat().st_size // 1000} kB")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for file in (wheel, sdist):
                shutil.copy(file, out / file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
