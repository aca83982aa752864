"""A live network as its operators see it: one inference followed by its id through logs and spans, a drill with an old
backup, and an end that loses nothing. `make operations` has the longer ones (operations_net.py)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
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
from tests.peer.operations import event, folkmoot, log_of, observed
from tests.tools.collector import Collector

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Net, Collector]]:
    with observed(tmp_path_factory.mktemp("net")) as found:
        yield found


def lines_of(file: Path, inference_id: str) -> list[str]:
    return [line for line in file.read_text().splitlines() if inference_id in line] if file.exists() else []


def test_one_inference_is_followed_by_its_id(
    seen: tuple[Net, Collector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, collector = seen
    monkeypatch.setenv("FOLKMOOT_LOG_DIR", str(tmp_path / "client"))
    receipt = net.events(max_tokens="20")[-1]["receipt"]
    name = receipt["inference_id"]
    found = net.final(name)
    logs = {net.node(at): log_of(net, at) for at in range(4)}
    client = lines_of(tmp_path / "client" / "folkmoot.log", name)
    agent = lines_of(logs[net.node(0)], name)
    executor = lines_of(logs[found["executor"]], name)
    committee = {node: lines_of(logs[node], name) for node in found["committee"]}
    print(f"\n{name}")
    for who, lines in (("client", client), ("agent", agent), ("executor", executor), *committee.items()):
        said = [json.loads(line)["event"] if line[0] == "{" else line[21:60] for line in lines]
        print(f"  {who[:12]:12} {len(lines)} lines: {said}")
    assert any("a question is sent" in line for line in client)
    assert any("an answer is complete" in line for line in client)
    assert any("an answer is confirmed" in line for line in agent)
    assert any("an answer is signed" in line for line in executor)
    for lines in committee.values():
        assert any("an answer is checked" in line for line in lines)
        assert any("a verdict is revealed" in line for line in lines)
    spans = until(lambda: len(collector.of(name)) >= 4 and collector.of(name))
    print(f"  spans {sorted(spans)} of trace {name[:32]}")
    assert set(spans) == {"client", "agent", "executor", "check"}
    assert spans["client"].span_id.hex() == name[32:48]
    assert not spans["client"].parent_span_id
    assert {one.parent_span_id.hex() for key, one in spans.items() if key != "client"} == {name[32:48]}
    events = {part: [event.name for event in spans[part].events] for part in ("agent", "executor")}
    print(f"  events {events}")
    for part, node in (("agent", net.node(0)), ("executor", found["executor"])):
        peer = [net.node(at) for at in range(4)].index(node)
        assert events[part] == list(call(net.folders[peer], {"op": "hops", "id": name})["marks"]), "one clock for both"
        assert f"{part} is asked" in events[part]
    assert "engine's first token" in events["executor"]


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


def test_an_old_backup_beside_a_newer_chain_signs_nothing_twice(seen: tuple[Net, Collector], tmp_path: Path) -> None:
    net, _ = seen
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
    last = until(lambda: last_signed(folder))  # its threads may hold the store for a moment longer
    assert last.height > at_backup, "it signed after the backup"
    folder.rename(tmp_path / "lost")
    done = folkmoot("restore", "--json", str(tmp_path / "old.backup"), str(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["node"] == node.hex()
    assert last_signed(folder).height < last.height, "an old guard"
    net.restart(3)
    until(lambda: not net.status(3)["consensus"]["observing"], 120)
    until_height = int(event(folder / "log" / "folkmoot.log", "it signs above this height")["height"])
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
    assert net.ask("hello").returncode == 0


def test_a_peer_that_drains_ends_and_the_others_go_on(seen: tuple[Net, Collector]) -> None:
    net, _ = seen
    done = folkmoot("drain", "--json", "--dir", str(net.folders[2]))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ended"]
    assert event(log_of(net, 2), "this peer ends")["unfinished"] == 0
    assert folkmoot("drain", "--dir", str(net.folders[2])).returncode != 0, "it does not run any more"
    top = net.height(0)
    until(lambda: net.height(0) >= top + 2)
    stop(net.directory, [net.folders[1].name])
    assert event(log_of(net, 1), "this peer ends"), "SIGTERM drains too"
