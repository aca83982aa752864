"""Who answers says that it works; who hears nothing goes elsewhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p.base.errors import Overloaded, Unavailable
from p2p.base.limits import EXECUTOR_SILENT_S, FIRST_TOKEN_TIMEOUT_S, WORKING_EVERY_S
from p2p.peer.telling import Telling
from p2p.wire.frames import Frame, Trying, Working, parse_frame


class Kept:
    """A stream that keeps what is sent and when; it breaks after `most` frames."""

    def __init__(self, most: int = 1000) -> None:
        self.frames: list[tuple[float, Frame]] = []
        self.most = most

    async def send(self, *raws: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if len(self.frames) >= self.most:
            raise Unavailable("gone", field="stream")
        self.frames += [(trio.current_time(), parse_frame(raw)) for raw in raws]


def over(stream: Any) -> Telling:
    return Telling(stream)


async def test_silent_work_is_told_of_as_long_as_it_lasts(autojump_clock: MockClock) -> None:
    stream = Kept()
    await over(stream).at_work(lambda: trio.sleep(FIRST_TOKEN_TIMEOUT_S))
    times = [at for at, _ in stream.frames]
    assert len(times) == pytest.approx(FIRST_TOKEN_TIMEOUT_S / WORKING_EVERY_S, abs=2)
    for at, frame in stream.frames:
        assert isinstance(frame, Working)
        assert frame.silence_ms / 1000 >= EXECUTOR_SILENT_S, "the next word comes well before it is missed"
        assert at <= FIRST_TOKEN_TIMEOUT_S
    assert max(b - a for a, b in pairwise(times)) < EXECUTOR_SILENT_S / 2


async def test_who_speaks_anyway_need_not_say_that_he_works(autojump_clock: MockClock) -> None:
    stream = Kept()
    telling = over(stream)

    async def talk() -> None:
        for _ in range(20):
            await telling.send(Trying(bytes(32)))
            await trio.sleep(WORKING_EVERY_S / 3)

    await telling.at_work(talk)
    assert not [frame for _, frame in stream.frames if isinstance(frame, Working)]


async def test_an_error_of_the_work_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise Overloaded("full", field="executor")

    with pytest.raises(Overloaded):
        await over(Kept()).at_work(fail)


async def test_that_nobody_hears_it_is_known_and_ends_no_work(autojump_clock: MockClock) -> None:
    telling, done = over(Kept(most=2)), []

    async def work() -> None:
        await trio.sleep(10)
        done.append(telling.is_gone)

    await telling.at_work(work)
    assert done == [True]
    with pytest.raises(Unavailable):
        await telling.send(Trying(bytes(32)))
