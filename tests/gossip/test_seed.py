"""A discovery-only peer introduces two others to each other and may then leave; all are real processes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from p2p.base.codec import unpack
from p2p.base.genesis import Genesis
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.processes import start, start_peer, stop, wait_until
from testnet.state_file import read_state
from tests import warm
from tests.net_lab import until

pytestmark = pytest.mark.network


def knows(folder: Path, others: set[str]) -> bool:
    return others <= {peer["peer_id"] for peer in call(folder, {"op": "peers"})["peers"]}


def test_two_peers_that_know_only_the_seed_find_each_other(tmp_path: Path) -> None:
    net = tmp_path / "net"
    net.mkdir()
    folders = generate(Plan(net, 3, serving=False, settings=(("expected_size", 3),)))
    genesis = unpack(Genesis, (folders[0] / "genesis.cbor").read_bytes())
    log = tmp_path / "seed.log"
    key = str(tmp_path / "seed.key")
    argv = ["bootstrap.seed", "--listen", "/ip4/127.0.0.1/tcp/0", "--key", key, "--network", genesis.network]
    try:
        start("seed", argv, log, net)
        address = until(lambda: [w for w in log.read_text().split() if w.startswith("/ip4")])[0]
        for folder in folders:
            start_peer(net, folder, address, None)
        for folder in folders:
            wait_until(net, folder, lambda s: s["state"] == "ready", "ready")
        ids = {folder: call(folder, {"op": "status"})["peer_id"] for folder in folders}
        for folder in folders:
            others = {i for f, i in ids.items() if f != folder}
            until(partial(knows, folder, others))
        stop(net, ["seed"])
        top = call(folders[0], {"op": "status"})["height"]
        until(lambda: call(folders[0], {"op": "status"})["height"] >= top + 2)
    finally:
        stop(net)
    assert read_state(net)["processes"] == {}


def test_a_seed_with_a_bad_address_says_so(tmp_path: Path) -> None:
    key = str(tmp_path / "key")
    argv = [sys.executable, "-m", "bootstrap.seed", "--listen", "nonsense", "--key", key, "--network", "x"]
    done = warm.run(argv, 60)
    assert done.returncode != 0
    assert "error" in done.stderr.lower()
