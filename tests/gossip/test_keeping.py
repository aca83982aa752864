"""Which connections end. The real case (a stopped process is noticed) is in test_network.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID

from p2p.base.keys import Key
from p2p.base.limits import PING_INTERVAL_S, PING_MISSES
from p2p.gossip import keeping
from p2p.gossip.budget import Budgets
from p2p.gossip.door import Door
from p2p.gossip.keeping import Keeper

PEER = Key(bytes(32)).peer_id


class Muxed:
    """FAKE: a connection without a socket."""

    peer_id, is_closed = PEER, False

    def __init__(self) -> None:
        self.stream_buffers: dict[int, bytes] = {}


def keeper_with(door: Door) -> Keeper:
    async def no_stream(peer: Any, protocols: list[str]) -> Any:
        await trio.sleep_forever()

    net = SimpleNamespace(host=SimpleNamespace(new_stream=no_stream), door=door, linked=lambda: {PEER})
    made = Keeper.__new__(Keeper)
    made._net, made._misses = net, {}  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("talks", [True, False])
async def test_a_peer_that_is_late_with_pongs_stays_while_anything_comes(
    talks: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DISC-3: five peers with a hundred answers at once ended each other's connections, and connecting anew took still
    more of the machine."""
    door, dropped = Door(Budgets()), list[str]()
    intake = door.intake(Muxed(), "10.0.0.1")

    async def drop(host: Any, peer: ID) -> None:
        dropped.append(str(peer))

    monkeypatch.setattr(keeping, "drop_connection", drop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper_with(door).ping_all)
        for _ in range(4 * PING_MISSES * round(PING_INTERVAL_S)):
            await trio.sleep(1.0)
            if talks:
                intake.heard_at = trio.current_time()
        nursery.cancel_scope.cancel()
    assert (dropped == []) is talks
