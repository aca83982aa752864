"""Real processes: votes travel by streams between validators, one that does not vote follows, one that dies and comes
back takes part again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from p2p.base.limits import UPSTREAMS
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.processes import fresh_directory, start_peer, stop, up
from tests.net_lab import until

pytestmark = pytest.mark.network
SETTINGS = (("block_interval_ms", 200), ("empty_block_interval_ms", 400), ("expected_size", 5))


def test_votes_travel_by_streams_and_streams_come_back(tmp_path: Path) -> None:
    directory = tmp_path / "net"
    fresh_directory(directory)
    folders = generate(Plan(directory, 5, serving=False, joiners=1, settings=SETTINGS))

    def status(number: int) -> dict[str, Any]:
        return call(folders[number], {"op": "status"})

    def streams(number: int) -> int:
        return int(status(number)["consensus"]["vote_streams"])

    try:
        bootstrap = up(directory, folders, {}, lambda text: None)
        until(lambda: all(streams(number) >= 3 for number in range(4)))
        until(lambda: streams(4) == UPSTREAMS)
        top = status(0)["height"]
        until(lambda: min(status(number)["height"] for number in range(5)) >= top + 5)
        assert not status(4)["consensus"]["validator"]

        stop(directory, [folders[3].name], sign=signal.SIGKILL)
        until(lambda: streams(0) < 4 and status(0)["height"] >= top + 8)
        start_peer(directory, folders[3], bootstrap, None)
        until(lambda: streams(3) >= 3)
        back = status(0)["height"]
        # three of four are enough, so its own vote is needed only when another one is gone
        stop(directory, [folders[2].name], sign=signal.SIGKILL)
        until(lambda: status(0)["height"] >= back + 5)
        assert status(3)["consensus"]["validator"]
    finally:
        stop(directory)
