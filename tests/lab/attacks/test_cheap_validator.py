"""Real peers, one of which checks with cheaper weights (the ML nodes are the named fake).

It is barred for its numbers after some dozens of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from p2p.client.events import Done
from p2p.peer.control import call
from tests.net_lab import Net, only

pytestmark = pytest.mark.network
CHEAP, MOST = 3, 60  # its number; questions


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(
        tmp_path_factory.mktemp("net") / "n", 4, cheats={CHEAP: "cheap_validator"}, flags={CHEAP: ["--scale", "1.5"]},
        epoch_blocks=10_000,
    )
    yield made
    made.close()


def conduct(net: Net, number: int) -> dict[str, Any]:
    found = call(net.folders[0], {"op": "verification"})["participants"]
    return dict(next(row for row in found if row["node"] == net.node(number)))


def test_numbers_of_cheaper_weights_bar_and_honest_ones_do_not(net: Net) -> None:
    for number in range(MOST):
        receipt = only(Done, net.ask_executor(1 + number % 2)).receipt
        net.final(receipt.inference_id.hex())
        if conduct(net, CHEAP)["barred"]:
            break
    found = conduct(net, CHEAP)
    assert found["barred"], found
    assert "numbers of other weights" in found["barred_reason"]
    assert not any(conduct(net, number)["barred"] for number in range(3))
