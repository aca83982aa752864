"""A folder that this user may not read is called that, and not missing: by every command, and by `doctor`.

The commands run without the capability by which root reads everything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.base.genesis import load_genesis
from p2p.chain.chain import Chain
from testnet.generate import Plan, generate

DROPPED = "-dac_override,-dac_read_search"
PLAIN_USER = ("setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}") if os.geteuid() == 0 else ()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A peer's folder, with a store, on which every command below has something to do."""
    (folder,) = generate(Plan(tmp_path_factory.mktemp("net"), 1, serving=False))
    Chain.open(folder, load_genesis(folder / "genesis.cbor")).close()
    yield folder
    for inner in (folder, folder / "data"):
        inner.chmod(0o700)


def said(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    if PLAIN_USER and shutil.which(PLAIN_USER[0]) is None:
        pytest.skip("setpriv (util-linux) is not here, and this user is root")
    return subprocess.run(
        [*PLAIN_USER, sys.executable, "-m", "p2p", *words], cwd=cwd, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("words", [
    ("status",), ("serve",), ("account", "show"), ("ask", "hi"), ("config", "show"), ("top",), ("backup", "new.backup"),
], ids="-".join)
def test_an_unreadable_folder_is_not_called_missing(words: tuple[str, ...], peer: Path, tmp_path: Path) -> None:
    peer.chmod(0o000)
    done = said(*words, "--dir", str(peer), cwd=tmp_path)
    assert done.returncode in (2, 5, 6)
    assert "Permission denied" in done.stderr
    assert not any(wrong in done.stderr for wrong in ("is missing", "no peer runs", "folkmoot join", "folkmoot init",
                                                      "new.backup", "fault of this program"))


def test_doctor_names_an_unreadable_store(peer: Path, tmp_path: Path) -> None:
    peer.chmod(0o700)
    (peer / "data").chmod(0o000)
    done = said("doctor", "--dir", str(peer), cwd=tmp_path)
    assert done.returncode == 1
    row = next(line for line in done.stdout.splitlines() if line.startswith("failed  store"))
    assert "Permission denied" in row
