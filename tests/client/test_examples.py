"""The examples run, each in a process of its own, against scripted peers over real connections."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from p2p.base.codec import encode
from tests.client.liar import Liar
from tests.client.scripted import ScriptedPeer
from tests.client.scripted_net import listening
from tests.client.test_client import KEYS, genesis
from tests.sim.traffic import CLIENT, MODEL

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples" / "python"
RUNS = {
    "stream.py": (["hello"], "checked]"), "conversation.py": (["hello", "and then?"], "> and then?"),
    "many.py": (["one", "two", "three"], "> three"), "chances.py": (["Once"], "likeliest"),
}


def test_every_example_is_run_here_and_named_in_their_readme() -> None:
    names = {file.name for file in EXAMPLES.glob("*.py")}
    assert names == set(RUNS)
    assert {name for name in names if f"`{name}`" in (EXAMPLES / "README.md").read_text()} == names


@pytest.mark.network
@pytest.mark.parametrize("name", RUNS)
async def test_an_example_runs(tmp_path: Path, name: str) -> None:
    liar, folder = Liar(tmp_path, genesis()), tmp_path / "client"
    folder.mkdir()
    CLIENT.save(folder / "account.key")
    (folder / "genesis.cbor").write_bytes(encode(liar.chain.genesis))
    peers = [ScriptedPeer(liar, key, rng=random.Random(at)) for at, key in enumerate(KEYS[:2])]
    words, said = RUNS[name]
    async with listening(peers) as addresses:
        options = ["--dir", str(folder), "--model", MODEL, "--max-tokens", "5"]
        options += [part for address in addresses for part in ("--peer", address)]
        command = [sys.executable, str(EXAMPLES / name), *options, *words]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=120, check=False,
                env={"PYTHONPATH": str(ROOT), "PATH": ""},
            )

        found = await trio.to_thread.run_sync(run)
    assert found.returncode == 0, found.stderr
    assert said in found.stdout
    liar.chain.close()
