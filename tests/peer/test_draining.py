"""Draining: nothing new, what runs is finished, and a limit; and what about an inference is said under its id."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from p2p.base.errors import InvalidRequest, Unavailable
from p2p.machine import logs, tracing
from p2p.machine.tracing import EACH, about
from p2p.peer.draining import Draining, drain_handler
from p2p.peer.intake import Intake


def test_the_intake_refuses_with_a_reason() -> None:
    intake, why = Intake(), ["waits"]
    intake.check("agent")
    intake.restored = lambda: why[0]
    with pytest.raises(Unavailable, match="waits"):
        intake.check("agent")
    why[0] = ""
    intake.drains = True
    with pytest.raises(Unavailable, match="ends soon") as caught:
        intake.check("executor")
    assert caught.value.field == "executor"


async def test_it_ends_when_all_is_done_and_not_before(autojump_clock: Any) -> None:
    left, closed = {"answers": 2}, []
    draining = Draining(lambda: left, lambda: closed.append(True))
    ended = trio.Event()

    async def run() -> None:
        await draining.run()
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(100)
        assert not ended.is_set(), "nobody asked it to"
        draining.begin(1000)
        draining.begin(1000)
        assert closed == [True]
        await trio.sleep(100)
        assert not ended.is_set(), "two answers run"
        assert not draining.is_last, "checks go on"
        left["answers"] = 0
        await ended.wait()
    assert trio.current_time() < 1000


async def test_the_limit_ends_it_with_work_left(autojump_clock: Any) -> None:
    draining = Draining(lambda: {"answers": 1}, lambda: None)
    draining.begin(8)
    began = trio.current_time()
    await draining.run()
    assert 8 <= trio.current_time() - began < 9


async def test_records_that_a_chain_at_rest_does_not_take_hold_it_up_for_seconds_only(autojump_clock: Any) -> None:
    draining = Draining(lambda: {"answers": 0, "records": 3}, lambda: None)
    draining.begin(600)
    await draining.run()
    assert trio.current_time() < 10


@pytest.mark.parametrize("limit", [None, "8", -1, True, 10**9, float("nan")])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    draining = Draining(dict, lambda: None)
    handle = drain_handler(draining, lambda request: {"other": True})
    assert handle({"op": "status"}) == {"other": True}
    with pytest.raises(InvalidRequest, match="seconds"):
        handle({"op": "drain", "limit_s": limit})
    assert not draining.is_begun


async def test_lines_inside_carry_the_whole_id_and_are_never_counted_as_repetitions(tmp_path: Path) -> None:
    logs.configure(tmp_path, "info")
    log = structlog.get_logger()

    async def inner() -> None:
        for _ in range(60):
            log.info("a token", **{EACH: True})

    with about("executor", b"\x07" * 32):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)
    log.info("outside")
    lines = (tmp_path / logs.FILE).read_text().splitlines()
    assert len([line for line in lines if f"inference='{'07' * 32}'" in line]) == 60
    assert all(EACH not in line for line in lines)
    assert "inference" not in lines[-1]


def test_nothing_of_opentelemetry_is_imported_while_it_is_off() -> None:
    code = (
        "import sys\nfrom p2p.machine.tracing_otel import exporting\nimport p2p.peer.node, p2p.client.ask\n"
        "with exporting('x'): pass\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
    assert tracing._Tracers.used is None
