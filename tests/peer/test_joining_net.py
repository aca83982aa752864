"""A newcomer's whole path on a network of real peers, by the commands a user types: from `folkmoot init` to the first
answer it is paid for. The ML node is the named fake. Nobody bans anybody on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.base.genesis import CheckRules, SprintRules
from p2p.base.toml_file import dump_toml
from p2p.base.types import STANDS
from p2p.client.events import Done
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.processes import start_peer
from tests import warm
from tests.net_lab import Net, only, until
from tests.verification import toy

pytestmark = pytest.mark.network
EPOCH = 64
SPRINT = SprintRules(blocks=10, open_blocks=8, samples=2, max_tokens=8, unit_tokens=5)
GIFT = 400_000_000


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("joining"), 4, window=8, epoch_blocks=EPOCH, sprint=SPRINT,
        checks=CheckRules(reveal_window=5, appeal_window=0), settings={"empty_block_interval_ms": 500},
    )
    yield made
    made.close()


def folkmoot(*words: str) -> dict[str, Any]:
    done = warm.run([sys.executable, "-m", "p2p", *words, "--json"], 200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(*words: str) -> dict[str, Any]:
    done = warm.run([sys.executable, "-m", "p2p", *words, "--json"], 200)
    assert done.returncode != 0, done.stdout
    return dict(json.loads(done.stderr.splitlines()[-1])["error"])  # before it, what it would cost


def account(folder: Path, public: str) -> dict[str, Any]:
    return call(folder, {"op": "account", "account": public})


def participant(folder: Path, node: str) -> dict[str, Any]:
    rows = call(folder, {"op": "verification"})["participants"]
    return next((dict(row) for row in rows if row["node"] == node), {})


def together(net: Net) -> None:
    """Each is connected to each other: nobody sent anybody away."""
    ids = [call(peer, {"op": "status"})["peer_id"] for peer in net.folders]
    for peer, mine in zip(net.folders, ids, strict=True):
        known = {row["peer_id"] for row in call(peer, {"op": "peers"})["peers"]}
        assert known >= {*ids} - {mine}, f"{peer.name} is not connected to all"


def join(net: Net) -> tuple[Path, dict[str, Any]]:
    """init, copy the genesis, serve; profile and tokenizer are the fake model's."""
    folder = net.directory / "newcomer"
    made = folkmoot("init", str(folder), "--network", "testnet", "--listen", "/ip4/127.0.0.1/tcp/0")
    (folder / "genesis.cbor").write_bytes((net.folders[0] / "genesis.cbor").read_bytes())
    with (folder / "config.toml").open("a") as config:
        config.write(dump_toml({**toy.files(), "empty_block_interval_ms": 500}))
    url = net.urls[net.folders[0].name]
    start_peer(net.directory, folder, net.address(0), url)
    until(lambda: call(folder, {"op": "status"})["state"] == "ready", 120)
    net.folders.append(folder)
    net.urls[folder.name] = url
    return folder, made


def test_a_newcomer_registers_through_its_own_peer_and_is_paid_for_its_first_answer(net: Net) -> None:
    folder, made = join(net)
    status = call(folder, {"op": "status"})
    assert status["registered"] is False
    own = status["addresses"][0]
    until(lambda: net.height(4) >= net.height(0) - 2, 60)

    no_money = refused("account", "register", "--model", DEFAULT_MODEL, "--peer", own, "--dir", str(folder))
    assert no_money["field"] == "account", no_money
    assert "neither money nor a node" in no_money["message"]
    unregistered = refused("ask", "--peer", own, "--dir", str(net.directory / "client"), "hello")
    assert "not registered" in unregistered["message"], unregistered

    client = str(net.directory / "client")
    paid = folkmoot("account", "transfer", made["account"], str(GIFT), "--peer", net.address(1), "--dir", client)
    assert paid["state"] == "done"
    until(lambda: account(folder, made["account"])["balance_micro"] == GIFT)
    taken = folkmoot("account", "register", "--model", DEFAULT_MODEL, "--peer", own, "--dir", str(folder))
    assert (taken["kind"], taken["state"]) == ("register", "done"), taken
    for peer in net.folders:
        until(lambda peer=peer: participant(peer, made["node"]))  # type: ignore[misc]
    assert call(folder, {"op": "status"})["registered"] is True
    together(net)


def test_it_earns_weight_is_drawn_and_its_first_answer_is_booked(net: Net) -> None:
    """After the test above: the newcomer is the last of the folders."""
    folder = net.folders[4]
    made = {"node": net.node(4)}

    def weighs() -> bool:
        together(net)
        found = participant(net.folders[0], made["node"])
        assert not found["convicted"], found["convicted_reason"]
        return bool(found["weight"])

    until(weighs, 400)
    receipt = only(Done, net.ask_executor(4)).receipt
    assert (receipt.executor.hex(), receipt.problems) == (made["node"], ())
    found = net.final(receipt.inference_id.hex())
    assert found["status"] in STANDS, found
    epochs = range(net.height(0) // EPOCH + 1)
    earned = [call(folder, {"op": "earnings", "epoch": one, "node": made["node"], "start": 0}) for one in epochs]
    booked = sum(int(one["own"]["fees_micro"]) for one in earned)
    assert booked > 0, "its first answer is booked"

    through_it = net.ask(peer=4, max_tokens="4")
    assert through_it.returncode == 0, "and as an agent it serves: " + through_it.stderr
    top = net.height(0)
    until(lambda: min(net.height(peer) for peer in range(5)) >= top + 3, 120)
    together(net)
    for peer in net.folders:
        for log in (peer / "log").glob("*.log"):
            assert "banned" not in log.read_text(errors="replace"), f"{log} speaks of a ban"
