"""What is placed where, what waits, and what is refused, one rule a test."""

from __future__ import annotations

import pytest

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import (
    CHECKS_PER_NODE,
    ENGINE_QUEUE_S,
    MAX_ML_NODES,
    MAX_OVERTAKEN,
    MAX_QUEUED,
    PAID_TURN,
    QUEUE_AGE_S,
    QUEUED_OF_ACCOUNT,
    RETRY_MOST_S,
)
from p2p.scheduling.jobs import Busy, Kind, Placed, Queued
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec
from p2p.scheduling.scheduler import Scheduler
from tests.scheduling.jobs import job, scheduler


def fill(made: Scheduler, count: int, now: float = 0.0, kind: Kind = Kind.PAID) -> list[int]:
    """Tickets of so many jobs that are placed."""
    found = [made.offer(job(kind, bytes([at])), now) for at in range(count)]
    assert all(isinstance(one, Placed) for one in found)
    return [one.ticket for one in found]


def test_of_sixty_requests_at_one_moment_sixteen_run() -> None:
    """They once ran all together: they were counted only when the engine had answered."""
    made = scheduler(16)
    found = [made.offer(job(account=bytes([at])), 0.0) for at in range(60)]
    assert sum(isinstance(one, Placed) for one in found) == 16 == made.running
    assert sum(isinstance(one, Queued) for one in found) == 44 == made.waiting
    assert made.tick(0.0) == []


def test_a_place_that_ends_goes_to_one_that_waits() -> None:
    made = scheduler(2)
    first, _ = fill(made, 2)
    waits = made.offer(job(), 1.0)
    assert isinstance(waits, Queued)
    assert made.ended(first, 50, 2.0)
    assert made.tick(2.0) == [Placed(waits.ticket, "n0")]
    assert not made.ended(first, 50, 2.0), "a second end changes nothing"
    assert made.running == 2


def test_jobs_are_spread_over_the_nodes_of_their_model() -> None:
    made = scheduler(4, 4)
    made.add(NodeSpec("other", "another model"))
    made.observe("other", Metrics(), 0.0)
    found = [made.offer(job(), 0.0) for _ in range(8)]
    assert sorted(one.node for one in found if isinstance(one, Placed)) == ["n0"] * 4 + ["n1"] * 4


def test_what_no_node_serves_is_refused_without_a_hint() -> None:
    refused = scheduler(1).offer(job(model="unknown"), 0.0)
    assert isinstance(refused, Busy)
    assert refused.retry_after_s == 0
    assert "unknown" in refused.reason


def test_what_no_node_can_ever_hold_is_refused_at_once() -> None:
    refused = scheduler(4, kv=1000).offer(job(prompt=900, most=200), 0.0)
    assert isinstance(refused, Busy)
    assert refused.retry_after_s == 0
    assert "1100 tokens" in refused.reason


# -- room in the KV cache ---------------------------------------------------------------------------------------------


def test_tokens_are_reserved_before_the_engine_uses_them() -> None:
    made = scheduler(16, kv=1000)
    found = [made.offer(job(), 0.0) for _ in range(16)]
    assert sum(isinstance(one, Placed) for one in found) == 9, "100 tokens each, and not all of the cache"


def test_what_others_use_of_an_engine_counts() -> None:
    made = scheduler(16, kv=1000)
    made.observe("n0", Metrics(8, 0, 1000, 0.8), 1.0)
    assert isinstance(made.offer(job(), 1.0), Placed)
    assert isinstance(made.offer(job(), 1.0), Queued), "0.8 used, one of 100 tokens not seen yet"
    made.observe("n0", Metrics(1, 0, 1000, 0.1), 3.0)
    assert len(made.tick(3.0)) == 1


def test_an_engine_with_a_queue_of_its_own_gets_nothing_more() -> None:
    made = scheduler(16)
    made.observe("n0", Metrics(4, 2), 1.0)
    assert isinstance(made.offer(job(), 1.0), Placed), "a job that just came waits there for a moment"
    made.observe("n0", Metrics(4, 2), 1.0 + ENGINE_QUEUE_S)
    assert isinstance(made.offer(job(), 1.0 + ENGINE_QUEUE_S), Queued)
    made.observe("n0", Metrics(4, 0), 6.0)
    assert len(made.tick(6.0)) == 1


def test_answers_that_end_early_are_reserved_less_for() -> None:
    made = scheduler(4, kv=100_000)
    for at in range(200):
        placed = made.offer(job(most=4000), float(at))
        assert isinstance(placed, Placed)
        made.ended(placed.ticket, 200, at + 0.5)
    assert isinstance(made.offer(job(most=4000), 300.0), Placed)
    assert 300 < made.views()[0].reserved_tokens < 1000
    made.offer(job(Kind.VALIDATION, prompt=4000, most=1), 300.0)
    assert made.views()[0].reserved_tokens > 4000, "a check reads all of its tokens"


def test_a_job_that_needs_much_room_is_not_passed_for_ever() -> None:
    made = scheduler(16, kv=1000)
    running = fill(made, 8)
    big = made.offer(job(account=b"big", prompt=800, most=100), 0.0)
    assert isinstance(big, Queued)
    passed = 0
    for at in range(200):
        small = made.offer(job(account=b"%d" % at), 0.1)
        made.ended(running.pop(0), 100, 0.1)
        placed = made.tick(0.1) + ([small] if isinstance(small, Placed) else [])
        running += [one.ticket for one in placed]
        if any(one.ticket == big.ticket for one in placed):
            break
        passed += len(placed)
    else:
        raise AssertionError("it never began")
    assert passed <= MAX_OVERTAKEN + 1


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_client_waits_no_longer_than_its_age() -> None:
    made = scheduler(1)
    fill(made, 1)
    waits = made.offer(job(), 1.0)
    assert isinstance(waits, Queued)
    assert made.tick(1.0 + QUEUE_AGE_S - 0.1) == []
    (refused,) = made.tick(1.0 + QUEUE_AGE_S)
    assert isinstance(refused, Busy)
    assert refused.ticket == waits.ticket
    assert 1 <= refused.retry_after_s <= RETRY_MOST_S
    assert made.waiting == 0


def test_one_that_would_wait_too_long_is_refused_at_once_and_told_how_long() -> None:
    made = scheduler(1)
    at = 0.0
    for _ in range(10):  # ten tokens a second
        placed = made.offer(job(), at)
        assert isinstance(placed, Placed)
        at += 10.0
        made.ended(placed.ticket, 100, at)
    assert made.rate("m") == pytest.approx(10.0)
    fill(made, 1, at)
    first = made.offer(job(account=b"x"), at)
    assert isinstance(first, Queued)
    assert first.wait_s == pytest.approx(10.0)
    second = made.offer(job(account=b"y"), at)
    assert isinstance(second, Busy)
    assert second.retry_after_s == 5, "20 s of work before it, 15 s are allowed"
    assert made.waiting == 1


def test_one_account_does_not_fill_the_line() -> None:
    made = scheduler(1)
    fill(made, 1)
    found = [made.offer(job(account=b"greedy"), 0.0) for _ in range(QUEUED_OF_ACCOUNT + 5)]
    assert sum(isinstance(one, Busy) for one in found) == 5
    assert isinstance(made.offer(job(account=b"other"), 0.0), Queued)


def test_a_full_line_gives_up_the_last_for_one_that_goes_before_it() -> None:
    made = scheduler(1)
    fill(made, 1)
    accounts = [b"%d" % at for at in range(MAX_QUEUED // 32)]
    for account in accounts:
        for _ in range(32):
            assert isinstance(made.offer(job(account=account), 0.0), Queued)
    modest = made.offer(job(account=b"modest"), 0.0)
    assert isinstance(modest, Queued)
    (out,) = made.tick(0.0)
    assert isinstance(out, Busy)
    assert made.waiting == MAX_QUEUED
    assert isinstance(made.offer(job(account=accounts[-1]), 0.0), Busy), "it would be the last"


def test_a_job_that_is_not_wanted_any_more_leaves_the_line() -> None:
    made = scheduler(1)
    fill(made, 1)
    waits = made.offer(job(), 0.0)
    assert isinstance(waits, Queued)
    assert made.ended(waits.ticket, 0, 1.0)
    assert made.waiting == 0
    assert made.tick(100.0) == []


# -- classes ----------------------------------------------------------------------------------------------------------


def test_a_higher_class_goes_first() -> None:
    made = scheduler(1)
    (running,) = fill(made, 1)
    tickets = {}
    for kind in reversed(Kind):
        waits = made.offer(job(kind), 0.0)
        assert isinstance(waits, Queued)
        tickets[waits.ticket] = kind
    begun = []
    for _ in Kind:
        made.ended(running, 100, 0.0)
        (placed,) = made.tick(0.0)
        running = placed.ticket
        begun.append(tickets[running])
    assert begun == list(Kind)


def test_strangers_have_their_turn_among_own_clients() -> None:
    made = scheduler(1)
    (running,) = fill(made, 1)
    paid = made.offer(job(Kind.PAID, b"p"), 0.0)
    assert isinstance(paid, Queued)
    begun = []
    for _ in range(PAID_TURN + 2):
        made.offer(job(Kind.OWN, b"o"), 0.0)
        made.ended(running, 100, 0.0)
        (placed,) = made.tick(0.0)
        running = placed.ticket
        begun.append(running)
    assert begun.index(paid.ticket) == PAID_TURN


def test_checks_and_the_sprint_begin_in_gaps_only() -> None:
    made = scheduler(8)
    fill(made, 4)
    for kind in (Kind.VALIDATION, Kind.SPRINT):
        assert isinstance(made.offer(job(kind), 0.0), Queued), "half of the places are taken"
    assert isinstance(made.offer(job(), 0.0), Placed), "they hold up nobody"
    quiet = scheduler(8)
    assert isinstance(quiet.offer(job(Kind.VALIDATION), 0.0), Placed)


def test_few_checks_run_at_once_on_one_node() -> None:
    made = scheduler(16, 16)
    found = [made.offer(job(Kind.VALIDATION), 0.0) for _ in range(2 * CHECKS_PER_NODE + 1)]
    assert [isinstance(one, Placed) for one in found] == [True] * 2 * CHECKS_PER_NODE + [False]


def test_a_check_waits_for_a_gap_until_half_of_its_window_is_over() -> None:
    made = scheduler(2)
    (running, _) = fill(made, 2)
    check = made.offer(job(Kind.VALIDATION, begin_by=20.0), 0.0)
    assert isinstance(check, Queued)
    made.offer(job(Kind.OWN, b"o"), 0.0)
    made.ended(running, 100, 1.0)
    (placed,) = made.tick(1.0)
    assert placed.ticket != check.ticket
    made.offer(job(Kind.OWN, b"o"), 9.0)
    made.ended(placed.ticket, 100, 10.0)
    (placed,) = made.tick(10.0)
    assert placed.ticket == check.ticket, "before the own client that waits"


def test_a_check_whose_window_is_over_is_given_up() -> None:
    made = scheduler(1)
    fill(made, 1)
    check = made.offer(job(Kind.VALIDATION, begin_by=20.0), 0.0)
    assert isinstance(check, Queued)
    assert [one.ticket for one in made.tick(20.0)] == [check.ticket]
    assert isinstance(made.offer(job(Kind.VALIDATION, begin_by=20.0), 21.0), Queued | Busy)


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_meets_the_node_that_served_it_last() -> None:
    made = scheduler(4, 4)
    first = made.offer(job(session=b"s"), 0.0)
    assert isinstance(first, Placed)
    for _ in range(2):  # its node is the fuller one now
        made.offer(job(session=b"s"), 0.0)
    again = made.offer(job(session=b"s"), 0.0)
    assert isinstance(again, Placed)
    assert again.node == first.node
    elsewhere = made.offer(job(session=b"s"), 0.0)
    assert isinstance(elsewhere, Placed)
    assert elsewhere.node != first.node, "it is full, and the other is free"


def test_nobody_steers_anothers_session() -> None:
    made = scheduler(4, 4)
    made.offer(job(session=b"s", account=b"a"), 0.0)
    other = made.offer(job(session=b"s", account=b"b"), 0.0)
    assert isinstance(other, Placed)
    assert other.node == "n1"


# -- ML nodes ---------------------------------------------------------------------------------------------------------


def test_a_draining_node_gets_nothing_new_and_ends_what_it_has() -> None:
    made = scheduler(4, 4)
    (one, other) = fill(made, 2)
    made.drain("n0")
    found = [made.offer(job(), 0.0) for _ in range(4)]
    assert [one.node for one in found if isinstance(one, Placed)] == ["n1"] * 3
    assert not made.is_idle("n0")
    made.ended(one, 10, 1.0)
    assert made.is_idle("n0")
    made.drain("n0", on=False)
    assert [placed.node for placed in made.tick(1.0) if isinstance(placed, Placed)] == ["n0"]
    del other


def test_when_every_node_drains_nothing_is_taken() -> None:
    made = scheduler(4)
    made.drain("n0")
    refused = made.offer(job(), 0.0)
    assert isinstance(refused, Busy)
    assert refused.retry_after_s > 0


def test_a_node_that_does_not_answer_gets_nothing() -> None:
    made = scheduler(4, 4)
    made.observe("n0", None, 1.0)
    assert {one.node for one in (made.offer(job(), 1.0) for _ in range(4)) if isinstance(one, Placed)} == {"n1"}
    made.observe("n1", None, 2.0)
    refused = made.offer(job(), 2.0)
    assert isinstance(refused, Busy)
    assert "not ready" in refused.reason


def test_a_removed_node_is_forgotten_and_its_jobs_end_as_any() -> None:
    made = scheduler(2)
    one, _ = fill(made, 2)
    waits = made.offer(job(), 0.0)
    assert isinstance(waits, Queued)
    made.remove("n0")
    (refused,) = made.tick(0.0)
    assert isinstance(refused, Busy)
    assert refused.ticket == waits.ticket
    assert made.ended(one, 10, 1.0)
    assert made.views() == ()
    made.observe("n0", Metrics(), 1.0)  # somebody was looking
    assert made.views() == ()


def test_names_are_unique_and_nodes_are_few() -> None:
    made = scheduler(1)
    with pytest.raises(ConfigError, match="already"):
        made.add(NodeSpec("n0", "m"))
    for at in range(1, MAX_ML_NODES):
        made.add(NodeSpec(f"n{at}", "m"))
    with pytest.raises(ConfigError, match="at most"):
        made.add(NodeSpec("one too many", "m"))
    for act in (made.drain, made.remove, made.is_idle):
        with pytest.raises(ConfigError, match="there are: n0"):
            act("unknown")
