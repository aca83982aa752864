"""`folkmoot join` as a user types it, on a network that runs: by address, by file, again, with a wrong hash."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from p2p.cli.main import main
from p2p.client.network_file import dump_network
from p2p.joining.ping import STEPS
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.processes import start
from tests import warm
from tests.cli.keeps_to import keeps_to
from tests.net_lab import Net, until
from tests.verification import toy

pytestmark = pytest.mark.network
HERE = ("--listen", "/ip4/127.0.0.1/tcp/0")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("join"), 3, window=8)
    yield made
    made.close()


@pytest.fixture
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every command that a test starts."""
    file = tmp_path / "words"
    file.write_bytes(b"five random words are good")
    file.chmod(0o600)
    monkeypatch.setenv("FOLKMOOT_PASSPHRASE_FILE", str(file))


def join(*words: str) -> tuple[int, list[dict[str, Any]], str]:
    """(exit status, steps, what went to standard error)."""
    command = [sys.executable, "-m", "p2p", "join", "--json", *words]
    done = warm.run(command, 500)
    return done.returncode, list(keeps_to("join", done.stdout)) if done.stdout else [], done.stderr


def said(steps: list[dict[str, Any]], step: str) -> str:
    return " | ".join(one["text"] for one in steps if one["step"] == step)


def test_an_address_alone_is_not_believed(net: Net, tmp_path: Path) -> None:
    """Neither without a hash, nor with another network's; and then nothing is on the disk."""
    for words, field in (((), "genesis_hash"), (("--genesis-hash", "1" * 64), "genesis")):
        status, _, error = join(net.address(0), "--dir", str(tmp_path / "p"), *HERE, *words)
        assert status, "it is refused"
        told = json.loads(error.splitlines()[-1])["error"]
        assert told["field"] == field, told
        assert net.genesis.network in told["message"] or "is wanted" in told["message"]
        assert not (tmp_path / "p").exists()


def test_it_joins_goes_on_where_it_stopped_and_serves(net: Net, tmp_path: Path, passphrase: None) -> None:
    """With an account key that is locked from the beginning."""
    folder = tmp_path / "p"
    file = tmp_path / "network.toml"
    file.write_text(dump_network(net.genesis, (net.address(0),)))
    status, steps, error = join(str(file), "--dir", str(folder), *HERE, "--then-stop")
    assert status == 0, error
    order = [one["step"] for one in steps]
    assert [step for at, step in enumerate(order) if step not in order[:at]] == [
        "network", "genesis", "folder", "account", "peer", "peers", "chain", "joined",
    ]
    assert b"argon2id" in (folder / "account.key").read_bytes()
    assert "node.key made" in said(steps, "folder")
    key = (folder / "node.key").read_bytes()

    url = net.urls[net.folders[0].name]
    files = toy.files()
    with (folder / "config.toml").open("a") as config:
        config.write(f'profile = "{files["profile"]}"\n')
    words = [
        str(file), "--dir", str(folder), "--serve", DEFAULT_MODEL, "--ml-node", url, "--tokenizer", files["tokenizer"],
        "--fund", str(net.directory / "client"),
    ]
    log = tmp_path / "log" / "join.log"
    start("join", ["p2p", "join", "--json", *words], log, net.directory)

    def placed() -> bool:
        found = [json.loads(row) for row in log.read_text().splitlines() if row.startswith("{")]
        assert not any("error" in one for one in found), found
        return "registered for" in said(found, "place")

    until(placed, 400)
    assert (folder / "node.key").read_bytes() == key
    assert call(folder, {"op": "status"})["registered"] is True
    assert call(folder, {"op": "status"})["ml_node"] == url


def ping(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    status = main(["ping", "--json", *words])
    return status, {one["step"]: one for one in json.loads(capsys.readouterr().out)["steps"]}


def test_ping_says_where_it_ends(net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    address = net.address(0)
    client = str(net.directory / "client")
    status, steps = ping(capsys, address, "--dir", client, "--listen", "/ip4/127.0.0.1/tcp/0")
    assert status == 0, steps
    assert {name: one["state"] for name, one in steps.items()} == dict.fromkeys(STEPS, "ok")
    assert net.genesis.hash.hex() in steps["genesis"]["text"]
    assert all(one["ms"] >= 0 for one in steps.values())

    other = address.rpartition("/")[0] + "/12D3KooWGC6TvWhfajpX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5u"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        silent = other.replace(address.split("/")[4], str(port))
        Thread(target=lambda: mute.accept()[0].close(), daemon=True).start()  # TCP is open, and nobody speaks
        wrong = (
            ("/ip4/1.2.3.4/tcp/1", "parse", ()), ("/dns4/no.such.name.invalid" + address[14:], "resolve", ()),
            ("/ip4/127.0.0.1/tcp/9" + other[other.index("/p2p/"):], "tcp", ()), (silent, "security", ()),
            (other, "identity", ()), (address, "network", ("--genesis-hash", "other@" + "1" * 32)),
            (address, "genesis", ("--genesis-hash", "1" * 32)),
        )
        for at, step, words in wrong:
            status, steps = ping(capsys, at, *words)
            assert status == 1, step
            failed = [name for name, one in steps.items() if one["state"] == "failed"]
            assert failed == [step], steps
            assert steps[step]["fix"]
            later = STEPS[STEPS.index(step) + 1 :]
            assert all(steps[name]["state"] == "skipped" for name in later)
