"""`folkmoot doctor` on set-ups that are really broken: files, modes, limits, sockets, a disk, processes. Each one fails
the check of its own fault, and is told the fix."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from p2p.base.genesis import load_genesis
from p2p.base.limits import MIN_OPEN_FILES
from p2p.base.toml_file import dump_toml
from p2p.chain.chain import Chain
from p2p.cli.doctor import FAILED
from p2p.cli.main import main
from testnet.generate import Plan, generate
from tests.held import held

Break = Callable[[Path, ExitStack], None]
OTHER_ID = "12D3KooWGC6TvWhfajpX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5u"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with which nothing is wrong: it has a store, and a bootstrap that answers."""
    (folder,) = generate(Plan(tmp_path_factory.mktemp("net"), 1, serving=False))
    genesis = load_genesis(folder / "genesis.cbor")
    Chain.open(folder, genesis).close()
    with seed(genesis.network, folder.parent / "seed.key") as address:
        settings(folder, bootstrap=[address])
        yield folder


@contextmanager
def seed(network: str, key: Path) -> Iterator[str]:
    """A bootstrap peer; its address."""
    command = [sys.executable, "-m", "bootstrap.seed", "--network", network, "--key", str(key)]
    with held([*command, "--listen", "/ip4/127.0.0.1/tcp/0"]) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]


def settings(folder: Path, **change: Any) -> None:
    import tomllib

    file = folder / "config.toml"
    file.write_text(dump_toml({**tomllib.loads(file.read_text()), **change}))


def doctor(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    status = main(["doctor", "--json", "--dir", str(folder)])
    report = json.loads(capsys.readouterr().out)
    return status, {one["name"]: one for one in report["checks"]}


def no_settings(folder: Path, stack: ExitStack) -> None:
    (folder / "config.toml").unlink()


def unknown_setting(folder: Path, stack: ExitStack) -> None:
    settings(folder, colour="red")


def wide_node_key(folder: Path, stack: ExitStack) -> None:
    (folder / "node.key").chmod(0o644)


def wide_account_key(folder: Path, stack: ExitStack) -> None:
    (folder / "account.key").chmod(0o640)


def genesis_cut_off(folder: Path, stack: ExitStack) -> None:
    file = folder / "genesis.cbor"
    file.write_bytes(file.read_bytes()[:-9])


def genesis_of_another_network(folder: Path, stack: ExitStack) -> None:
    settings(folder, network="testnet@" + "1" * 32)


def port_taken(folder: Path, stack: ExitStack) -> None:
    other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    settings(folder, listen=[f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}"])


def nobody_at_the_bootstrap(folder: Path, stack: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    settings(folder, bootstrap=[f"/ip4/127.0.0.1/tcp/{port}/p2p/{OTHER_ID}"])


def another_key_at_the_bootstrap(folder: Path, stack: ExitStack) -> None:
    import tomllib

    (address,) = tomllib.loads((folder / "config.toml").read_text())["bootstrap"]
    settings(folder, bootstrap=[address.rpartition("/")[0] + "/" + OTHER_ID])


def bootstrap_of_another_network(folder: Path, stack: ExitStack) -> None:
    address = stack.enter_context(seed("elsewhere@" + "2" * 32, folder.parent / "other.key"))
    settings(folder, bootstrap=[address])


def no_bootstrap(folder: Path, stack: ExitStack) -> None:
    settings(folder, bootstrap=[])


def store_cut_off(folder: Path, stack: ExitStack) -> None:
    file = folder / "data" / "data.mdb"
    with file.open("r+b") as data:
        data.truncate(file.stat().st_size - 4096)


def store_in_use(folder: Path, stack: ExitStack) -> None:
    held = Chain.open(folder, load_genesis(folder / "genesis.cbor"))
    stack.callback(held.close)


def few_files(folder: Path, stack: ExitStack) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MIN_OPEN_FILES // 2, hard))


def nothing_at_the_engine(folder: Path, stack: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    settings(folder, ml_node=f"http://127.0.0.1:{port}")


def weights_cut_off(folder: Path, stack: ExitStack) -> None:
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    head = json.dumps({"w": {"dtype": "BF16", "shape": [512], "data_offsets": [0, 1024]}}).encode()
    (model / "a.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(1000))
    settings(folder, model_path=str(model))


def gpu_driver_is_broken(folder: Path, stack: ExitStack) -> None:
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Driver/library version mismatch\nexit 18\n")
    program.chmod(0o755)
    old = os.environ["PATH"]
    stack.callback(os.environ.__setitem__, "PATH", old)
    os.environ["PATH"] = f"{program.parent}:{old}"


BROKEN: list[tuple[Break, str, str, str]] = [  # what is broken, the check, words of its sentence, words of its fix
    (no_settings, "settings", "config.toml", "folkmoot join"),
    (unknown_setting, "settings", "colour", "Correct it"),
    (wide_node_key, "keys", "mode 0644", "0600"),
    (wide_account_key, "account", "mode 0640", "chmod 600"),
    (genesis_cut_off, "genesis", "cut off", "network's own genesis file"),
    (genesis_of_another_network, "genesis", "config.toml is for testnet@1111", "genesis file"),
    (port_taken, "ports", "in use by another program", "`listen`"),
    (nobody_at_the_bootstrap, "bootstrap", "nobody listens", "outgoing TCP"),
    (another_key_at_the_bootstrap, "bootstrap", "another peer than", "Check the address"),
    (bootstrap_of_another_network, "bootstrap", "serves network 'elsewhere'", "Check the address"),
    (no_bootstrap, "bootstrap", "no bootstrap address", "`bootstrap`"),
    (store_cut_off, "store", "is cut off", "restored from a copy"),
    (store_in_use, "store", "in use by another process", "End the process"),
    (few_files, "files", f"{MIN_OPEN_FILES // 2} files", "ulimit -n"),
    (nothing_at_the_engine, "engine", "nothing answers at http://127.0.0.1", "`ml_node`"),
    (weights_cut_off, "models", "has 1", "Copy the model's files again"),
    (gpu_driver_is_broken, "gpu", "version mismatch", "driver"),
]


@pytest.mark.network
def test_a_whole_set_up_fails_nothing(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = doctor(whole, capsys)
    assert status == 0, found
    assert {name for name, one in found.items() if one["state"] == "ok"} >= {
        "settings", "keys", "genesis", "account", "store", "disk", "memory", "files", "ports", "bootstrap",
    }


@pytest.mark.network
def test_ping_of_a_seed_skips_the_chain(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    (address,) = tomllib.loads((whole / "config.toml").read_text())["bootstrap"]
    assert main(["ping", address, "--json", "--listen", "/ip4/127.0.0.1/tcp/0"]) == 0
    steps = {one["step"]: one for one in json.loads(capsys.readouterr().out)["steps"]}
    assert [name for name, one in steps.items() if one["state"] == "skipped"] == ["network", "genesis", "height"]
    assert "seed" in steps["network"]["text"]
    assert steps["dial-back"]["state"] == "ok"


@pytest.mark.network
@pytest.mark.parametrize(("break_it", "check", "text", "fix"), BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_each_fault_is_named_with_its_fix(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Break, check: str, text: str, fix: str,
) -> None:
    folder = tmp_path / "p"
    shutil.copytree(whole, folder)
    with ExitStack() as stack:
        break_it(folder, stack)
        status, found = doctor(folder, capsys)
    assert status == 1
    failed = {name for name, one in found.items() if one["state"] == FAILED}
    assert check in failed, found
    assert failed <= {check, "models", "engine"} if check in ("models", "engine") else failed == {check}, found
    assert text in found[check]["text"]
    assert fix in found[check]["fix"]


@pytest.mark.network
def test_a_disk_that_is_nearly_full(whole: Path) -> None:
    """A file system of 64 MB, mounted for one process alone."""
    script = (
        'mount -t tmpfs -o size=64m none "$1" && cp -a "$2/." "$1/" && '
        'exec "$3" -m p2p doctor --json --dir "$1"'
    )
    place = whole.parent / "full"
    place.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(place), str(whole), sys.executable],
        capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 1, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert found["disk"]["state"] == FAILED
    assert "are free" in found["disk"]["text"]
    assert "Free 1024 MiB" in found["disk"]["fix"]
