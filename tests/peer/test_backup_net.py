"""An old backup restored beside a newer chain, on a live network: nothing is signed twice, and the peer takes part
again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.base.codec import unpack
from p2p.chain.stores.guard import GuardStore
from p2p.consensus.guard import GuardRecord
from p2p.consensus.light import LightBlock
from p2p.peer.control import call
from p2p.store.lmdb import Store
from testnet.processes import stop
from tests.net_lab import Net, until

pytestmark = pytest.mark.network


def folkmoot(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "p2p", *words], capture_output=True, text=True, timeout=120, check=False,
    )


def signed_heights(net: Net, node: bytes, first: int, last: int) -> list[int]:
    """Heights whose certificate names `node`."""
    found = []
    for height in range(first, last + 1):
        raw = call(net.folders[0], {"op": "light", "height": height})["light"]
        if node in [who for who, _ in unpack(LightBlock, bytes.fromhex(raw)).certificate.signatures]:
            found.append(height)
    return found


def last_signed(folder: Path) -> GuardRecord:
    store = Store(folder / "data")
    record = GuardStore(store, folder / "node.key.used").load()
    store.close()
    assert record is not None
    return record


def test_an_old_backup_beside_a_newer_chain_signs_nothing_twice(tmp_path: Path) -> None:
    net = Net(tmp_path / "net", epoch_blocks=1000)
    try:
        folder, node = net.folders[3], bytes.fromhex(net.node(3))
        until(lambda: net.height(3) >= 3)
        done = folkmoot("backup", str(tmp_path / "old.backup"), "--keys", "--dir", str(folder))  # it runs
        assert done.returncode == 0, done.stderr
        at_backup = net.height(3)
        until(lambda: net.height(3) >= at_backup + 5)
        copy = folkmoot("restore", str(tmp_path / "old.backup"), str(tmp_path / "copy"))
        assert copy.returncode == 0, copy.stderr
        second = folkmoot("serve", "--json", "--dir", str(tmp_path / "copy"), "--listen", "/ip4/127.0.0.1/tcp/0")
        assert second.returncode != 0
        assert "another peer with this key runs on this machine" in second.stderr
        stop(net.directory, [folder.name], sign=signal.SIGKILL)
        last = last_signed(folder)
        assert last.height > at_backup, "it signed after the backup"
        folder.rename(tmp_path / "lost")
        done = folkmoot("restore", "--json", str(tmp_path / "old.backup"), str(folder))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["node"] == node.hex()
        assert last_signed(folder).height < last.height, "an old guard"
        net.restart(3)
        until(lambda: not net.status(3)["consensus"]["observing"], 120)
        log = (folder / "log" / "folkmoot.log").read_text()
        (line,) = [one for one in log.splitlines() if "it signs above this height" in one]
        until_height = int(line.rpartition("height=")[2])
        assert until_height >= last.height
        mine = until(lambda: signed_heights(net, node, until_height + 1, net.height(0)), 120)
        now = net.height(0)
        between = signed_heights(net, node, last.height + 1, until_height)
        print(
            f"backup at {at_backup}, last signature before the loss at {last.height}, restored peer signs from "
            f"{mine[0]} on, held up to {until_height}, chain at {now}, signed in between: {between}"
        )
        assert between == [], "nothing is signed between the loss and the height that the network decided"
        for peer in range(4):
            assert net.status(peer)["consensus"]["evidence"] == 0
        found = net.ask("hello")
        assert found.returncode == 0, found.stderr
    finally:
        net.close()
