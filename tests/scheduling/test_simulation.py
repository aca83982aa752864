"""Hosts under load for simulated minutes: shares, classes, waits and room, over several seeds."""

from __future__ import annotations

import random
import statistics

import pytest

from p2p.base.serving_limits import QUEUE_AGE_S
from p2p.scheduling.jobs import Job, Kind
from tests.scheduling.jobs import job
from tests.scheduling.simulation import STEP_S, Engine, World

SEEDS = range(2)


def all_of_it(one: Job, chance: random.Random) -> int:
    del chance
    return one.tokens


def some_of_it(one: Job, chance: random.Random) -> int:
    return one.prompt_tokens + chance.randint(1, one.max_tokens) if one.max_tokens else one.tokens


@pytest.mark.parametrize("seed", SEEDS)
def test_accounts_with_work_waiting_get_equal_shares_whatever_they_ask(seed: int) -> None:
    """One asks for short answers, one for long ones, one for four times as many at once."""
    world = World([Engine("a", 4, 100_000), Engine("b", 4, 100_000)], some_of_it, seed)
    world.backlog(lambda: job(account=b"short", prompt=10, most=40), 8)
    world.backlog(lambda: job(account=b"long", prompt=100, most=400), 8)
    world.backlog(lambda: job(account=b"many", prompt=20, most=80), 32)
    world.run(800.0)
    shares = [world.served[name] for name in (b"short", b"long", b"many")]
    assert sum(shares) > 60_000
    assert max(shares) < 1.1 * min(shares), shares


def test_an_account_pays_for_what_its_answers_used_and_not_for_what_they_might_have() -> None:
    def used(one: Job, chance: random.Random) -> int:
        del chance
        return one.tokens if one.account == b"all" else one.prompt_tokens + one.max_tokens // 10

    world = World([Engine("a", 8, 100_000)], used, 0)
    for name in (b"all", b"tenth"):
        world.backlog(lambda name=name: job(account=name, prompt=10, most=200), 40)  # type: ignore[misc]
    world.run(400.0)
    shares = world.served[b"all"], world.served[b"tenth"]
    assert max(shares) < 1.15 * min(shares), shares


@pytest.mark.parametrize("seed", SEEDS)
def test_a_modest_account_hardly_notices_a_greedy_one(seed: int) -> None:
    world = World([Engine("a", 8, 100_000)], some_of_it, seed)
    world.backlog(lambda: job(account=b"greedy", prompt=20, most=200), 60)
    world.stream(lambda: job(account=b"modest", prompt=20, most=50), 4.0, 30.0)
    begun: list[float] = []
    world.run(30.0)
    before = len(world.waits["PAID"])
    place = world._begin

    def note(placed: object) -> None:
        one, since = world.jobs[placed.ticket]  # type: ignore[attr-defined]
        if one.account == b"modest":
            begun.append(world.now - since)
        place(placed)  # type: ignore[arg-type]

    world._begin = note  # type: ignore[method-assign]
    world.run(600.0)
    assert len(world.waits["PAID"]) > before
    assert len(begun) > 100, "all of its jobs are done"
    assert statistics.median(begun) < 2.0, "about as long as until a place is free"


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_times_too_much_work_starves_no_class_and_answers_everybody(seed: int) -> None:
    world = World([Engine("a", 8, 20_000), Engine("b", 8, 20_000)], some_of_it, seed)
    window = 60.0
    for name in range(40):
        world.stream(lambda name=name: job(Kind.PAID, b"p%d" % name, 30, 170), 1.0)  # type: ignore[misc]
    for name in range(4):
        world.stream(lambda name=name: job(Kind.OWN, b"o%d" % name, 30, 170), 2.0)  # type: ignore[misc]
    world.stream(lambda: job(Kind.VALIDATION, b"", 150, 1, begin_by=world.now + window), 3.0)
    for _ in range(4):
        world.stream(lambda: job(Kind.SPRINT, b"", 30, 90), 60.0)
    world.run(600.0)
    waits = world.waits
    assert max(waits["OWN"]) <= QUEUE_AGE_S + STEP_S
    assert max(waits["PAID"]) <= QUEUE_AGE_S + STEP_S
    assert max(waits["VALIDATION"]) < window, "each check begins within its window"
    assert world.done["SPRINT"] > 10
    assert statistics.mean(waits["OWN"]) < statistics.mean(waits["PAID"])
    assert max(world.refused_after, default=0.0) <= QUEUE_AGE_S + STEP_S
    assert world.done["busy"] > 1000
    assert world.scheduler.waiting < 300
    busy = sum(world.served.values()) / 600.0
    assert busy > 0.9 * 16 * 20, "refusing costs no goodput"
    assert world.most_running == {"a": 8, "b": 8}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_cache_is_filled_and_never_overfilled(seed: int) -> None:
    """The World asserts that engines hold what they were given."""
    world = World([Engine("a", 64, 3000)], all_of_it, seed)
    for name in range(8):
        world.backlog(lambda name=name: job(account=b"%d" % name, prompt=50, most=200), 8)  # type: ignore[misc]
    world.backlog(lambda: job(account=b"big", prompt=1500, most=500), 2)
    world.run(300.0)
    assert world.most_running["a"] >= 8
    assert world.served[b"big"] > 0
