"""Draining: nothing new, what runs is finished, and a limit; and what about an inference is said under its id."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from p2p.base.errors import InvalidRequest, Unavailable
from p2p.cli.serve import REPLACED_S
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


@dataclass
class Peer:
    """What runs on it, and the height of its chain."""

    left: dict[str, int]
    top: int = 10
    closed: list[bool] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.draining = Draining(lambda: dict(self.left), lambda: self.closed.append(True), lambda: self.top)

    async def run(self) -> None:
        await self.draining.run()
        self.ended.set()


async def test_it_ends_when_all_is_done_and_not_before(autojump_clock: Any) -> None:
    peer = Peer({"answers": 2})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await trio.sleep(100)
        assert not peer.ended.is_set(), "nobody asked it to"
        peer.draining.begin(1000)
        peer.draining.begin(1000)
        assert peer.closed == [True]
        await trio.sleep(100)
        assert not peer.ended.is_set(), "two answers run"
        assert peer.draining.last_draws is None, "checks go on"
        peer.left["answers"] = 0
        await peer.ended.wait()
    assert trio.current_time() < 1000


async def test_duties_that_were_drawn_before_its_last_answer_ended_are_finished(autojump_clock: Any) -> None:
    peer = Peer({"answers": 1, "duties": 3})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        peer.draining.begin(1000)
        for peer.top in range(10, 60):  # blocks come
            if peer.top == 30:
                peer.left["answers"] = 0
            await trio.sleep(1)
        assert peer.draining.last_draws == 30, "what is drawn later waits for the next start"
        assert not peer.ended.is_set(), "it has committed and not revealed"
        peer.left["duties"] = 0
        await peer.ended.wait()


async def test_the_limit_ends_it_with_work_left(autojump_clock: Any) -> None:
    peer = Peer({"answers": 1})
    peer.draining.begin(8)
    began = trio.current_time()
    await peer.run()
    assert 8 <= trio.current_time() - began < 9


@pytest.mark.parametrize("waits", ["records", "duties"])
async def test_what_a_chain_at_rest_does_not_take_holds_it_up_for_seconds_only(
    waits: str, autojump_clock: Any,
) -> None:
    peer = Peer({"answers": 0, waits: 3})
    peer.draining.begin(600)
    await peer.run()
    assert trio.current_time() < 10


@pytest.mark.parametrize("limit", [None, "8", -1, True, 10**9, float("nan")])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    draining = Draining(dict, lambda: None, lambda: 0)
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


def test_a_peer_that_takes_over_has_loaded_everything_before_the_other_one_drains() -> None:
    code = (
        "import argparse, sys\nfrom pathlib import Path\nimport p2p.cli.drain, p2p.peer.control\n"
        "from p2p.cli.serve import _take_over\n"
        "assert 'libp2p' not in sys.modules\n"
        "p2p.peer.control.call = lambda directory, request: {}\n"
        "p2p.cli.drain.drain = lambda directory, limit: print('libp2p' in sys.modules, limit)\n"
        "_take_over(argparse.Namespace(dir=Path('.'), drain_limit=None), lambda state, text: None)\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["True", f"{REPLACED_S}"]


def test_nothing_of_opentelemetry_is_imported_while_it_is_off() -> None:
    code = (
        "import sys\nfrom p2p.machine.tracing_otel import exporting\nimport p2p.peer.node, p2p.client.ask\n"
        "with exporting('x'): pass\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
    assert tracing._Tracers.used is None
