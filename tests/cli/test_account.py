"""`folkmoot account` and `governance`: a wrong word is one line that names it; a transaction reaches every peer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.base.genesis import CheckRules
from p2p.peer.control import call
from tests.cli.test_cli import folkmoot
from tests.net_lab import Net, until

PEER = "/ip4/1.2.3.4/tcp/1/p2p/x"


@pytest.mark.parametrize(("argv", "status", "field"), [
    (["account", "transfer", "00", "5", "--peer", "nowhere"], 2, "peer"),
    (["account", "transfer", "00", "5", "--peer", PEER, "--dir", "/nonexistent"], 2, "dir"),
    (["governance", "list", "--peer", "nowhere"], 2, "peer"),
])
def test_failures_are_one_line_with_a_field_and_a_status(argv: list[str], status: int, field: str) -> None:
    plain, machine = folkmoot(*argv), folkmoot(*argv, "--json")
    assert (plain.returncode, machine.returncode) == (status, status)
    assert plain.stderr.startswith(f"error: {field}: ")
    assert json.loads(machine.stderr)["error"]["field"] == field


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("account"), window=8, epoch_blocks=30,
        checks=CheckRules(reveal_window=5, appeal_window=0),
    )
    yield made
    made.close()


@pytest.mark.network
def test_account_transactions_reach_every_peer_and_refusals_name_their_field(net: Net) -> None:
    home = net.directory / "client"
    common = ("--peer", net.address(1), "--dir", str(home), "--json")

    def say(*words: str) -> dict[str, object]:
        done = folkmoot(*words, *common)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def wrong(*words: str) -> str:
        return str(json.loads(folkmoot(*words, *common).stderr)["error"]["field"])

    if not (home / "node.key").exists():
        from p2p.base.keys import Key

        Key.generate().save(home / "node.key")
    if not (home / "genesis.cbor").exists():
        shutil.copy(net.folders[0] / "genesis.cbor", home / "genesis.cbor")
    to = "07" * 32
    assert wrong("account", "transfer", to, str(10**15)) == "amount_micro"
    assert wrong("account", "transfer", "zz", "5") == "to"
    assert wrong("account", "appeal", "zz") == "inference"
    assert wrong("account", "appeal", "07" * 32) == "inference_id"
    assert wrong("governance", "propose", "--checks", "reveal_window=9") == "account"
    say("account", "transfer", to, "5")
    say("account", "register", "--metadata", "tests")
    say("account", "cap", "0", "100000")
    until(lambda: all(call(f, {"op": "account", "account": to})["balance_micro"] == 5 for f in net.folders))
    seen = until(lambda: (found := call(net.folders[2], {"op": "account", "account": net.client()}))["nodes"] and found)
    assert seen["nodes"][0]["metadata"] == "tests"
    until(lambda: call(net.folders[3], {"op": "account", "account": net.client()})["request_cap_micro"] == 100_000)
    say("account", "deposit", "50")
    until(
        lambda: call(net.folders[2], {"op": "account", "account": net.client()})["nodes"][0]["collateral_micro"] == 50
    )
    owner = ("--peer", net.address(1), "--dir", str(net.folders[0]), "--json")
    done = folkmoot("governance", "propose", "--checks", "reveal_window=9", *owner)
    assert done.returncode == 0, done.stderr
    listed = until(lambda: (found := say("governance", "list"))["proposals"] and found)
    assert listed["proposals"][0]["change"] == {"rules": "checks", "fields": {"reveal_window": 9}}
    assert Path(home).exists()
