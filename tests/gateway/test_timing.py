"""Server-Timing: three parts that follow on each other."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from p2p.gateway.timing import Timing


async def test_each_part_begins_where_the_last_one_ends(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await trio.sleep(0.001)
    timing = Timing(began)
    timing.end("read")
    await trio.sleep(0.25)
    timing.end("prepare")
    assert timing.header() == b"read;dur=1.00, prepare;dur=250.00"
    assert round(timing.so_far(), 6) == 0.251
