"""Planted faults on a live network of real peers (the ML node is the named fake): measured, and nobody is punished for
them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from p2p.peer.control import call
from tests.net_lab import Net, until

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("plants"), settings={"plant_interval_ms": 1500}, epoch_blocks=10_000)
    yield made
    made.close()


def test_faults_are_planted_caught_and_counted_and_cost_nothing(net: Net) -> None:
    def seen() -> dict[str, Any] | None:
        found = call(net.folders[0], {"op": "verification"})
        return found if sum(fault["planted"] for fault in found["faults"]) >= 3 else None

    found = until(seen, 180)
    assert sum(fault["caught"] for fault in found["faults"]) >= 1, found["faults"]
    assert all(fault["caught"] <= fault["checked"] <= fault["planted"] for fault in found["faults"])
    for row in found["participants"]:
        assert not row["convicted"], row
        assert not row["barred"], row
        assert row["strikes"] == 0, "a revealed plant is no cheat"


def test_clients_are_served_honestly_meanwhile(net: Net) -> None:
    receipt = net.events(max_tokens="20")[-1]["receipt"]
    assert receipt["checked"]
    assert net.final(receipt["inference_id"])["status"] == "VALIDATED"
