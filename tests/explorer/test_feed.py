"""Who listens to news, and who is dropped; which answers are kept ready."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.base.errors import Overloaded, Unavailable
from p2p.explorer.cache import Cache
from p2p.explorer.feed import RESET, Feed
from p2p.explorer.source import Rate


async def test_a_listener_hears_what_comes() -> None:
    feed = Feed()
    async with feed.listen() as (missed, coming):
        assert missed == []
        feed.publish("block", b"1")
        assert (await coming.receive()).data == b"1"
    assert feed.listeners == 0


async def test_a_slow_listener_is_dropped_and_others_hear_on() -> None:
    feed = Feed(ahead=2)
    async with feed.listen() as (_, slow), feed.listen() as (_, quick):
        heard = []
        for number in range(5):
            feed.publish("block", b"%d" % number)
            heard.append((await quick.receive()).data)
        assert heard == [b"0", b"1", b"2", b"3", b"4"]
        assert [news.data async for news in slow] == [b"0", b"1"]
        assert feed.listeners == 1


async def test_no_more_listeners_than_there_is_room_for() -> None:
    feed = Feed(listeners=1)
    async with feed.listen():
        with pytest.raises(Overloaded):
            async with feed.listen():
                pass
    async with feed.listen():
        assert feed.listeners == 1


async def test_who_comes_back_is_told_what_it_missed_or_to_begin_anew() -> None:
    feed = Feed()
    for number in range(3):
        feed.publish("block", b"%d" % number)
    async with feed.listen() as (_, coming):
        feed.publish("block", b"3")
        last = feed.id_of(await coming.receive())
    feed.publish("block", b"4")
    async with feed.listen(last) as (missed, _):
        assert [news.data for news in missed] == [b"4"]
    for number in range(300):
        feed.publish("block", b"%d" % number)
    for old in (last, "deadbeef-1", last.split("-")[0] + "-99999", "x", "-", last + "9" * 30):
        async with feed.listen(old) as (missed, _):
            assert [news.name for news in missed] == [RESET], old


async def test_one_question_serves_all_who_want_its_answer() -> None:
    cache, made, go = Cache(), [], trio.Event()

    async def make() -> int:
        made.append(1)
        await go.wait()
        return 7

    found = []

    async def get() -> None:
        found.append(await cache.get("a", 60, make))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(get)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert len(made) == 1
    assert {(one.body, one.tag) for one in found} == {(b"7", found[0].tag)}


async def test_a_failure_is_not_kept_and_the_next_one_tries() -> None:
    cache, tries = Cache(), []

    async def make() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("nobody")
        return 1

    with pytest.raises(Unavailable):
        await cache.get("a", 60, make)
    assert (await cache.get("a", 60, make)).body == b"1"


async def test_the_cache_has_a_bound_in_entries_and_bytes() -> None:
    cache, made = Cache(entries=3, size=30), []

    async def make() -> str:
        made.append(1)
        return "x" * 8

    for key in "abcd":
        await cache.get(key, 60, make)
    await cache.get("d", 60, make)
    assert len(made) == 4
    await cache.get("a", 60, make)
    assert len(made) == 5, "the oldest went"


async def test_what_visitors_cause_has_a_rate(autojump_clock: object) -> None:
    rate = Rate(5)
    for _ in range(5):
        rate.take()
    with pytest.raises(Overloaded):
        rate.take()
    await trio.sleep(0.4)
    rate.take()
