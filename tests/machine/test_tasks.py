"""Every part of a peer fails on purpose: it is started again and reported, and the others continue; only a failure of
the store ends the peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
import trio
import trio.testing

from p2p.base.errors import ConfigError, FolkmootError, StorageError, Unavailable
from p2p.base.genesis import load_genesis
from p2p.base.limits import TASK_CALM_S, TASK_PAUSE_FIRST_S, TASK_PAUSE_MAX_S
from p2p.chain.sync_client import Catchup
from p2p.gossip.connections.status import BudgetRow, Links, NetworkStatus
from p2p.gossip.host import Network
from p2p.lab.roles import roles_of
from p2p.lab.settings import load_settings
from p2p.machine.status import FailedPart
from p2p.machine.tasks import Tasks, once, reason_of
from p2p.peer import node as module
from p2p.peer.announcer import Announcer
from p2p.peer.config import DEFAULT_MODEL, load_config
from p2p.peer.fault_injector import FaultInjector
from p2p.peer.ml_nodes import MlNodes
from p2p.peer.node import Node
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.sprint_runner import SprintRunner
from p2p.peer.validator import Validator
from p2p.peer.vote_streams import VoteStreams
from testnet.generate import SHORT_SPRINT, Plan, generate
from tests.verification import toy

ERRORS = (
    RuntimeError("a bug"), KeyError("a bug"), Unavailable("gone"), RecursionError(), MemoryError(), AssertionError(),
    OSError(24, "too many files"),
)


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Short tracebacks: those with all values take seconds each."""
    structlog.configure(processors=[drop])
    yield
    structlog.reset_defaults()


def drop(logger: Any, method: str, event: Any) -> Any:
    raise structlog.DropEvent


class Failing:
    """A task that fails a number of times and then runs for ever."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors, self.began = list(errors), list[float]()

    async def run(self) -> None:
        self.began.append(trio.current_time())
        if self.errors:
            raise self.errors.pop(0)
        await trio.sleep_forever()


async def test_a_part_begins_anew_later_each_time(autojump_clock: trio.testing.MockClock) -> None:
    tasks, failing = Tasks(), Failing(*[RuntimeError("a bug")] * 12)
    with trio.move_on_after(10_000):
        await tasks.keep("part", failing.run)
    gaps = [round(b - a) for a, b in pairwise(failing.began)]
    assert gaps[:3] == [TASK_PAUSE_FIRST_S, 2 * TASK_PAUSE_FIRST_S, 4 * TASK_PAUSE_FIRST_S]
    assert max(gaps) == TASK_PAUSE_MAX_S
    assert tasks.status() == (FailedPart("part", 12, "RuntimeError: a bug", runs=True),)


async def test_a_part_that_ran_long_is_as_good_as_new(autojump_clock: trio.testing.MockClock) -> None:
    began = []

    async def now_and_then() -> None:
        began.append(trio.current_time())
        await trio.sleep(TASK_CALM_S + 1)
        raise RuntimeError

    with trio.move_on_after(10 * TASK_CALM_S):
        await Tasks().keep("part", now_and_then)
    assert {round(b - a) for a, b in pairwise(began)} == {TASK_CALM_S + 1 + TASK_PAUSE_FIRST_S}


@pytest.mark.parametrize("wrap", [
    lambda e: e, lambda e: ExceptionGroup("g", [e]),
    lambda e: ExceptionGroup("g", [KeyError(), ExceptionGroup("h", [e])]),
])
async def test_what_ends_the_peer_comes_through_whatever_wraps_it(wrap: Callable[[Exception], Exception]) -> None:
    full = StorageError("full", field="store", code="disk_full")
    with pytest.raises(StorageError):
        await Tasks().keep("part", Failing(wrap(full)).run)
    with pytest.raises(StorageError):
        await once("work", Failing(wrap(full)).run)
    with pytest.raises(ConfigError):
        await Tasks().keep("part", Failing(wrap(ConfigError("no"))).run, lambda error: isinstance(error, ConfigError))


async def test_cancellation_and_interrupts_are_nobodys_failure() -> None:
    tasks = Tasks()
    with trio.CancelScope() as scope:
        scope.cancel()
        await tasks.keep("part", Failing().run)
    assert scope.cancelled_caught
    with pytest.raises(KeyboardInterrupt):
        await tasks.keep("part", Failing(KeyboardInterrupt()).run)
    assert tasks.status() == ()
    both = BaseExceptionGroup("g", [RuntimeError(), KeyboardInterrupt()])
    with pytest.raises(BaseExceptionGroup) as caught:
        reason_of(both)
    assert caught.value.split(KeyboardInterrupt)[1] is None


async def test_a_piece_of_work_fails_alone() -> None:
    async with trio.open_nursery() as nursery:
        for error in ERRORS:
            nursery.start_soon(once, "work", Failing(error).run)
    with trio.CancelScope() as scope:
        scope.cancel()
        await once("work", Failing().run)
    assert scope.cancelled_caught


# -- the parts of a real peer
# -------------------------------------------------------------------------------------------------------


class NoNetwork:
    """A network without peers, for parts that use it."""

    def connected(self) -> tuple[str, ...]:
        return ()

    def addresses(self) -> tuple[str, ...]:
        return ()

    def status(self) -> NetworkStatus:
        links = Links(*[0] * 12, strain=1.0)
        return NetworkStatus({"streams": BudgetRow(used=0)}, "nobody is there", (), (), (), "", {}, links, {})

    async def open_stream(self, peer: str, protocol: str) -> Any:
        raise Unavailable("nobody is there")

    async def publish(self, topic: str, data: bytes) -> None:
        raise RuntimeError("the library failed")


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Node]:
    settings = (("plant_interval_ms", 10), ("ml_node", "http://127.0.0.1:1"), *toy.files().items())
    plan = Plan(tmp_path / "net", 4, sprint=SHORT_SPRINT, epoch_blocks=1000, settings=settings)
    folder = generate(plan)[0]
    genesis, roles = load_genesis(folder / "genesis.cbor"), roles_of(load_settings(folder))
    node = Node(load_config(folder), genesis, lambda state, text: None, roles)
    node.network = cast(Network, NoNetwork())
    yield node
    node.chain.close()


def inside(node: Node, name: str) -> tuple[Any, str]:
    """A function deep inside a part, which the part calls in each round."""
    return {
        "consensus": (node.consensus, "_carry_out"), "votes": (VoteStreams, "_connect"), "sync": (Catchup, "_visit"),
        "records": (node.outbox, "due"), "checks": (Validator, "on_height"),
        "ml_node": (MlNodes, "run"), "announcement": (Announcer, "tell"), "control": (module, "serve_control"),
        "sprint": (SprintRunner, "on_height"),
        "fault_injector": (FaultInjector, "_may"),
    }[name]


async def heights(node: Node) -> None:
    """Acts as if blocks were decided all the time, for parts that wait for one."""
    while True:
        node.new_height.set()
        node.records.wakeup.set()
        await trio.sleep(0.005)


NAMES = (
    "consensus", "votes", "sync", "records", "checks", "ml_node", "announcement", "control", "sprint", "fault_injector",
)


async def test_every_part_is_in_the_table(peer: Node) -> None:
    assert [name for name, _ in peer.parts(cast(Network, NoNetwork()))] == ["store", "load", *NAMES]


@pytest.mark.parametrize("name", NAMES)
async def test_a_part_that_fails_begins_anew_and_the_others_go_on(
    peer: Node, name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.machine.tasks.TASK_PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("p2p.machine.tasks.TASK_PAUSE_MAX_S", 0.02)
    monkeypatch.setattr("p2p.chain.sync_client.ASK_EVERY_S", 0.01)
    monkeypatch.setattr(NoNetwork, "connected", lambda self: ("somebody",))
    owner, attribute = inside(peer, name)
    stock, calls, again = getattr(owner, attribute), [0], trio.Event()
    errors = list(ERRORS)

    def fails(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if errors:
            raise errors.pop(0)
        again.set()
        return stock(*args, **options)

    monkeypatch.setattr(owner, attribute, fails)
    async with trio.open_nursery() as nursery:
        for part, task in peer.parts(cast(Network, NoNetwork())):
            nursery.start_soon(peer.tasks.keep, part, task)
        nursery.start_soon(heights, peer)
        with trio.fail_after(60):
            await again.wait()
        nursery.cancel_scope.cancel()
    (said,) = peer.tasks.status()
    assert (said.part, said.failures <= len(ERRORS)) == (name, True)
    assert peer.status().failures == (said,)


@pytest.mark.parametrize("name", NAMES)
async def test_the_storages_failure_in_any_part_ends_the_peer(
    peer: Node, name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.chain.sync_client.ASK_EVERY_S", 0.01)
    monkeypatch.setattr(NoNetwork, "connected", lambda self: ("somebody",))
    owner, attribute = inside(peer, name)

    def fails(*args: Any, **options: Any) -> Any:
        raise StorageError("no space", field="store", code="disk_full")

    monkeypatch.setattr(owner, attribute, fails)
    found: list[FolkmootError] = []
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for part, task in peer.parts(cast(Network, NoNetwork())):
                    nursery.start_soon(peer.tasks.keep, part, task)
    except* StorageError as group:
        found += [cast(FolkmootError, error) for error in group.exceptions]
    assert found


async def test_a_wrong_setting_ends_a_peer_only_before_it_has_served(peer: Node) -> None:
    assert peer.ml.unfit(ConfigError("another tokenizer"))
    assert not peer.ml.unfit(Unavailable("gone"))
    peer.ml.served = True
    assert not peer.ml.unfit(ConfigError("another tokenizer"))


async def test_a_store_that_fails_beneath_somebody_who_goes_on_ends_the_peer(peer: Node) -> None:
    """Streams, checks and the ledger answer a typed error and continue; the store's error must pass."""
    peer.chain.store._failed(StorageError("no space", field="store", code="disk_full"))
    with pytest.raises(StorageError), trio.fail_after(60):
        await peer.tasks.keep("store", peer._watch_store)
    with pytest.raises(StorageError):
        peer.chain.payloads.put(b"x", b"y")


async def test_what_cannot_be_published_is_not_its_authors_failure(peer: Node) -> None:
    await peer._publish("votes", b"x")


async def test_without_its_node_a_peer_is_busy_and_says_so(peer: Node) -> None:
    engine = cast(Any, object())
    ready = ReadyEngine(engine, engine, frozenset({2}), "cpu-bf16")
    peer.announcer.is_joined = True
    nodes = peer.ml.nodes
    (only,) = nodes._all.values()
    nodes._lend(only, ready)
    assert (peer.announcer.state, peer.executor.ready, peer.validator.ready) == ("ready", ready, ready)
    nodes._lend(only, None)
    assert (peer.executor.ready, peer.validator.ready) == (None, None)
    peer.announcer.say("loading", "the ML node does not answer any more")
    assert peer.status().state == "loading"
    assert "does not answer" in peer.status().said
    nodes._lend(only, ready)
    assert peer.status().state == "ready"
    assert DEFAULT_MODEL in peer.status().said


