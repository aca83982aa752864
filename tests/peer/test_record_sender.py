"""Records leave when there are some, not when a clock says so; a batch is on disk before its bytes leave."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from p2p.base.codec import decode, unpack
from p2p.base.keys import Key
from p2p.base.types import OutputRecord, RecordKind, SignedBatch
from p2p.peer.outbox import Outbox
from p2p.peer.record_sender import GATHER_S, REPEAT_LOOK_S, RecordSender
from p2p.peer.wakeup import Wakeup

KEY = Key(b"\x51" * 32)


class FakeChain:
    """Height and nonce stand still; each look at the nonce is one round of the sender. Its parts are this object."""

    reader = pool = property(lambda self: self)

    def __init__(self) -> None:
        self.top, self.rounds = 5, 0

    def height(self) -> int:
        return self.top

    def is_registered(self, node: bytes) -> bool:
        return True

    def batch_nonce(self, node: bytes) -> int:
        self.rounds += 1
        return 0

    def add(self, raw: bytes) -> None: ...


class Lab:
    def __init__(self) -> None:
        wakeup = Wakeup()
        self.chain, self.outbox = FakeChain(), Outbox(KEY, "n", on_record=wakeup.set)  # type: ignore[arg-type]
        self.heard: list[tuple[float, int]] = []  # (when, records) of each batch
        self.disk: set[bytes] = set()
        fake: Any = self
        self.sender = RecordSender(KEY.public, fake.chain, self.outbox, fake, fake, self.publish, lambda: None, wakeup)

    def keep(self, flight: dict[int, bytes]) -> None:
        self.disk |= set(flight.values())

    def due(self) -> list[bytes]:
        return []

    async def publish(self, topic: str, data: bytes) -> None:
        _, raw = decode(data)
        assert (topic, raw in self.disk) == ("transactions", True)
        self.heard.append((trio.current_time(), len(unpack(SignedBatch, raw).batch.records)))

    def put(self, word: int) -> None:
        self.outbox.put(RecordKind.OUTPUT, OutputRecord(bytes(32), KEY.public, bytes(32), word))


async def test_a_record_leaves_at_once_with_those_that_come_with_it(autojump_clock: trio.testing.MockClock) -> None:
    lab = Lab()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.sender.run)
        await trio.sleep(REPEAT_LOOK_S / 3)
        began = trio.current_time()
        lab.put(1)
        await trio.sleep(GATHER_S / 2)
        lab.put(2)
        await trio.sleep(GATHER_S)
        assert lab.heard == [(began + GATHER_S, 2)]
        nursery.cancel_scope.cancel()


async def test_a_peer_with_nothing_to_say_sleeps_until_the_next_height(autojump_clock: trio.testing.MockClock) -> None:
    lab = Lab()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.sender.run)
        await trio.sleep(10 * REPEAT_LOOK_S - 1)
        assert lab.chain.rounds == 10
        lab.chain.top += 1
        lab.sender.wakeup.set()
        await trio.testing.wait_all_tasks_blocked()
        assert lab.chain.rounds == 11
        nursery.cancel_scope.cancel()
