"""A sprint on a network of real peers (the ML node is the named fake): it is run, checked, and the next epoch's
validator set is what it gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from p2p.base.codec import unpack
from p2p.base.genesis import CheckRules, SprintRules
from p2p.consensus.light import LightBlock
from p2p.peer.control import call
from tests.net_lab import Net, until

pytestmark = pytest.mark.network
EPOCH = 72
SPRINT = SprintRules(blocks=10, open_blocks=8, samples=2, max_tokens=8, unit_tokens=5)
SLOW, CHEAT = 1, 2  # of five; peer 0 is fast


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("sprint"), 5, flags={SLOW: ["--delay-s", "0.5"]}, cheats={CHEAT: "wrong_seed"},
        window=10, epoch_blocks=EPOCH,
        sprint=SPRINT, checks=CheckRules(reveal_window=6, appeal_window=0), settings={"empty_block_interval_ms": 500},
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
    """In the first epoch in which all took part: while the network comes up, the last peers may miss a sprint."""
    nodes = [net.node(peer) for peer in range(5)]
    fast, slow, cheat = nodes[0], nodes[SLOW], nodes[CHEAT]

    def decided() -> dict[str, Any] | None:
        found = sprint(net)
        done = found["phase"] == "checks" and len(found["runs"]) == 5
        return found if done and all(
            run["checked"] + run["refused"] == run["samples"] for run in found["runs"]
        ) else None

    found = until(decided, 400)
    runs = {row["node"]: row for row in found["runs"]}
    assert all(run["opened"] == 2 for run in runs.values()), runs
    assert {node for node, run in runs.items() if run["refused"]} == {cheat}, runs
    assert 0 < runs[slow]["count"] < runs[fast]["count"]
    last = (found["epoch"] + 1) * EPOCH
    until(lambda: net.height(0) > last + 1, 240)
    weights = {row["node"]: row["weight"] for row in call(net.folders[0], {"op": "verification"})["participants"]}
    assert weights == {row["node"]: row["weight_next"] for row in found["participants"]}
    assert 0 == weights[cheat] < weights[slow] < weights[fast]
    assert cheat not in members(net, last + 1)
    assert members(net, last + 1).keys() == {node for node in nodes if weights[node]}
    assert members(net, last) != members(net, last + 1)
    assert all(weight <= weights[node] for node, weight in members(net, last + 1).items()), "capped by owner"
    top = net.height(0)
    until(lambda: min(net.height(peer) for peer in range(5)) >= top + 3, 120)
    assert len({net.block(peer, top + 2)["app_hash"] for peer in range(5)}) == 1
    # Not `events`: a client recomputes the draw from the genesis file's weights, so its receipt says that this one is
    # another.
    events = [json.loads(line) for line in net.ask(max_tokens="12").stdout.splitlines()]
    receipt = events[-1]["receipt"]
    found = net.final(receipt["inference_id"])
    assert found["status"] == "VALIDATED", found
    assert set(found["candidates"]) == {
        node for node in nodes[1:] if weights[node]
    }, "drawn by the new weights: who has none is not"
