"""A sprint on a network of real peers (the ML node is the named fake): it is run, checked, and the next epoch's validator set is what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from p2p.codec import unpack
from p2p.consensus.light import LightBlock
from p2p.control import call
from p2p.genesis import CheckRules, SprintRules
from tests.net_lab import Net, until

pytestmark = pytest.mark.network
EPOCH = 90
SPRINT = SprintRules(blocks=12, open_blocks=10, samples=2, max_tokens=8, unit_tokens=5)
SLOW, CHEAT, PLAIN = 1, 2, 3  # peer 0 is fast


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("sprint"), 5, flags={SLOW: ["--delay-s", "0.1"]}, cheats={CHEAT: "wrong_seed"}, window=15, epoch_blocks=EPOCH,
        sprint=SPRINT, checks=CheckRules(reveal_window=10), settings={"empty_block_interval_ms": 500},
    )
    yield made
    made.close()


def sprint(net: Net, peer: int = 0) -> dict[str, Any]:
    return call(net.folders[peer], {"op": "sprint"})


def members(net: Net, height: int) -> dict[str, int]:
    """The set that decided block `height`, as a light client is told."""
    found = call(net.folders[0], {"op": "light", "height": height})
    block = unpack(LightBlock, bytes.fromhex(found["light"]))
    return {key.hex(): weight for key, weight in block.validators}


def test_the_next_validator_set_is_what_the_race_gave(net: Net) -> None:
    def checked() -> dict[str, Any] | None:
        found = sprint(net)
        done = found["phase"] == "checks" and all(run["checked"] + run["refused"] == run["samples"] for run in found["runs"])
        return found if done and len(found["runs"]) == 5 else None

    found = until(checked, 240)
    runs = {row["node"]: row for row in found["runs"]}
    nodes = [net.node(peer) for peer in range(5)]
    assert all(run["withheld"] == 0 and run["opened"] == 2 for run in runs.values()), runs
    assert runs[nodes[CHEAT]]["refused"] == 2, runs
    assert all(run["refused"] == 0 for node, run in runs.items() if node != nodes[CHEAT]), runs
    assert 0 < runs[nodes[SLOW]]["count"] < runs[nodes[0]]["count"]
    until(lambda: net.height(0) > EPOCH + 1, 240)
    status = call(net.folders[0], {"op": "verification"})["participants"]
    weights = {row["node"]: row["weight"] for row in status}
    assert weights == {row["node"]: row["weight_next"] for row in found["participants"]}
    assert weights[nodes[CHEAT]] == 0
    assert 0 < weights[nodes[SLOW]] < weights[nodes[0]]
    assert members(net, EPOCH) == dict.fromkeys(nodes, 10)
    following = members(net, EPOCH + 1)
    assert following.keys() == {node for node in nodes if weights[node]}
    assert all(following[node] <= weights[node] for node in following), "capped by owner"
    top = net.height(0)
    until(lambda: min(net.height(peer) for peer in range(5)) >= top + 3, 120)
    assert len({net.block(peer, top + 2)["app_hash"] for peer in range(5)}) == 1
    receipt = net.events(max_tokens="12")[-1]["receipt"]
    assert receipt["checked"]
    assert net.final(receipt["inference_id"])["executor"] != nodes[CHEAT], "who has no weight is not drawn"
