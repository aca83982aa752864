"""Admission by the scheduler: quotas and records first, then a place; a refusal is a sentence with a hint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.errors import Overloaded, Unavailable
from p2p.base.serving_limits import AFFINE_S, QUEUE_AGE_S
from p2p.base.types import AGENT_CAUSED
from p2p.peer.admission import NotAdmitted
from p2p.peer.gate import Gate
from p2p.peer.quotas import Limit, Quotas
from p2p.peer.scheduled import Scheduled, check_job, sprint_job
from p2p.scheduling.jobs import Kind
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec

ENGINES = {"n0": object(), "n1": object()}


class Outbox:
    held = 0

    @contextmanager
    def hold(self, records: int) -> Iterator[str]:
        self.held += records
        try:
            yield "room"
        finally:
            self.held -= records


def forward(at: int, agent: bytes = b"agent", account: bytes = b"a", session: bytes = bytes(32)) -> Any:
    request = SimpleNamespace(
        model="m", prompt_tokens_max=10, max_tokens=90, account=account, session=session,
    )
    return SimpleNamespace(
        signed_request=SimpleNamespace(inference_id=b"%d" % at, request=request), agent=agent,
    )


def admission(*places: int, jobs: int = 100, own: frozenset[bytes] = frozenset()) -> Scheduled:
    gate = Gate(clock=lambda: 0.0)
    for at, most in enumerate(places):
        gate.scheduler.add(NodeSpec(f"n{at}", "m", most))
        gate.observe(f"n{at}", Metrics())
    gate.clock = trio.current_time
    chain: Any = SimpleNamespace(height=lambda: 1)
    outbox: Any = Outbox()
    engine_at: Any = ENGINES.get
    return Scheduled(
        b"node", chain, outbox, quotas=Quotas("agent", Limit(jobs, 10**6, 10)), gate=gate, engine_at=engine_at, own=own,
    )


async def test_sixty_forwards_at_one_moment_never_hold_more_than_sixteen_places() -> None:
    made, now, most, served = admission(16), 0, 0, 0

    async def serve(at: int) -> None:
        nonlocal now, most, served
        async with made.admit(forward(at)) as admitted:
            now += 1
            most = max(most, now)
            assert made.is_running(b"%d" % at)
            await trio.lowlevel.checkpoint()
            admitted.usage.used = 50
            now -= 1
        served += 1

    async with trio.open_nursery() as nursery:
        for at in range(60):
            nursery.start_soon(serve, at)
    assert (most, served, made.running) == (16, 60, 0)
    assert made.outbox.held == 0  # type: ignore[attr-defined]
    assert not made.is_running(b"0")


async def test_a_request_gets_the_engine_of_the_node_it_was_placed_on() -> None:
    made = admission(1, 1)
    async with made.admit(forward(1)) as one, made.admit(forward(2)) as other:
        assert {one.ready, other.ready} == set(ENGINES.values())


async def test_a_session_stays_with_its_node() -> None:
    made = admission(4, 4)
    async with made.admit(forward(1, session=b"s" * 32)) as one, made.admit(forward(2, session=b"s" * 32)) as other:
        assert one.ready is other.ready
    async with made.admit(forward(3)) as one, made.admit(forward(4)) as other:
        assert one.ready is not other.ready, "32 zeros are no session"


async def test_cancelled_and_expired_sessions_leave_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    """Of 40 requests of 20 sessions some run, some wait, some are refused; all are cancelled or run out of time."""
    made, refused = admission(4, 2), 0
    made.gate.clock = trio.current_time

    async def serve(at: int) -> None:
        nonlocal refused
        try:
            async with made.admit(forward(at, session=bytes([at % 20 + 1]) * 32)):
                await trio.sleep_forever()
        except NotAdmitted:
            refused += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.gate.run)
        for name in ("n0", "n1"):
            made.gate.observe(name, Metrics())
        for at in range(40):
            nursery.start_soon(serve, at)
        await trio.testing.wait_all_tasks_blocked()
        assert made.running == 6
        assert 0 < made.gate.scheduler.sessions <= 6
        assert made.gate.scheduler.waiting
        await trio.sleep(QUEUE_AGE_S + 1)
        assert refused == 34, "those that waited were told so"
        nursery.cancel_scope.cancel()
    scheduler = made.gate.scheduler
    assert (made.running, scheduler.waiting, len(made.gate._waits), len(made._held)) == (0, 0, 0, 0)
    assert made.outbox.held == 0  # type: ignore[attr-defined]
    assert all(view.jobs == 0 for view in scheduler.views())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.gate.run)
        await trio.sleep(AFFINE_S + 1)
        assert scheduler.sessions == 0, "nor does a session that is over"
        nursery.cancel_scope.cancel()


async def test_a_request_that_comes_twice_is_answered_once() -> None:
    made = admission(2)
    async with made.admit(forward(1)):
        with pytest.raises(NotAdmitted, match="already"):
            async with made.admit(forward(1)):
                raise AssertionError
        assert made.is_running(b"1")


async def test_an_agent_beyond_its_quota_is_refused_before_it_waits() -> None:
    made = admission(1, jobs=1)
    async with made.admit(forward(1)):
        with pytest.raises(NotAdmitted) as caught:
            async with made.admit(forward(2)):
                raise AssertionError
    assert caught.value.reason.startswith(AGENT_CAUSED)
    assert made.outbox.held == 0  # type: ignore[attr-defined]


async def test_without_a_place_the_refusal_says_when_to_come_again(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    made = admission(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.gate.run)
        async with made.admit(forward(1)):
            with pytest.raises(NotAdmitted, match=r"no place became free in time; try again in \d+ s"):
                async with made.admit(forward(2)):
                    raise AssertionError
        nursery.cancel_scope.cancel()


async def test_own_clients_go_first() -> None:
    made, order = admission(1, own=frozenset({b"mine"})), list[int]()

    async def serve(at: int, account: bytes) -> None:
        async with made.admit(forward(at, account=account)):
            order.append(at)

    async with trio.open_nursery() as nursery:
        async with made.admit(forward(0)):
            for at, account in enumerate((b"x", b"y", b"mine"), 1):
                nursery.start_soon(serve, at, account)
                await trio.testing.wait_all_tasks_blocked()
    assert order == [3, 1, 2]


@pytest.mark.parametrize("error", [Overloaded("of the work"), Unavailable("gone", field="ml_node"), ValueError()])
async def test_what_the_work_meets_is_its_own_error(error: Exception) -> None:
    made = admission(1)
    with pytest.raises(type(error)) as caught:
        async with made.admit(forward(1)):
            raise error
    assert caught.value is error
    assert made.running == 0


async def test_checks_and_the_sprint_ask_with_their_classes() -> None:
    assert check_job("m", 100, 7.0).kind is Kind.VALIDATION
    assert check_job("m", 100, 7.0).begin_by == 7.0
    assert sprint_job("m", 10, 20).tokens == 30
    made = admission(2)
    async with made.gate.hold(check_job("m", 100)) as place:
        assert place.node == "n0"
        assert made.running == 1
