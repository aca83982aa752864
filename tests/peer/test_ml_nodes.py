"""Several ML nodes of one peer, each a real process: one that is killed starts again, and the others serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, Unavailable
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing
from p2p.peer import engine_watch, ml_nodes
from p2p.peer.config import NodeConfig, load_config, make_config
from p2p.peer.gate import Gate
from p2p.peer.ml_control import ml_handler
from p2p.peer.ml_nodes import MlNodes
from p2p.peer.ml_settings import MlNodeSettings
from p2p.scheduling.jobs import Job, Kind

FAKE = Path(__file__).parent / "fake_vllm.py"


class Engines:
    """Starts the fake for each ML node, in vLLM's place; the socket is the ML node's url."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.broken: set[str] = set()  # urls of those that do not come up

    async def run_one(self, config: NodeConfig, lend: Any, say: Any, watch: Any) -> None:
        url = config.ml_node or ""
        if url in self.broken:
            raise Unavailable("out of memory", field="ml_node")
        say("loads")
        process = subprocess.Popen([sys.executable, str(FAKE), url.removeprefix("unix:")])
        self.processes[url] = process
        try:
            async with closing(VllmClient(url, config.model)) as client:
                while not await client.health():
                    if process.poll() is not None:
                        raise Unavailable("it ended while loading", field="ml_node")
                    await trio.sleep(0.01)
                lend(client)  # what is lent is not looked at
                await watch(client)
        finally:
            lend(None)
            process.kill()
            process.wait()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    for module, name in (
        (ml_nodes, "ENGINE_PAUSE_FIRST_S"), (ml_nodes, "ENGINE_PAUSE_MAX_S"), (engine_watch, "ENGINE_WATCH_S"),
        (ml_nodes, "IDLE_LOOK_S"),
    ):
        monkeypatch.setattr(module, name, 0.02)
    yield (engines := Engines())
    assert all(process.poll() is not None for process in engines.processes.values()), "they end with the peer"


def url(folder: Path, name: str) -> str:
    return f"unix:{folder / name}"


@asynccontextmanager
async def peer(folder: Path, engines: Engines, *names: str) -> AsyncIterator[MlNodes]:
    (folder / "config.toml").write_text("# settings\n")
    nodes = [{"name": name, "model": "m", "url": url(folder, name), "max_jobs": 2} for name in names]
    made = MlNodes(make_config(folder, {"ml_nodes": nodes}), Gate(), engines.run_one)
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


def states(nodes: MlNodes) -> dict[str, str]:
    return {row["name"]: row["state"] for row in nodes.rows()}


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await trio.sleep(0.01)


def job() -> Job:
    return Job(Kind.PAID, "m", 10, 90, b"a")


async def node_of(nodes: MlNodes, work: Callable[[str], Awaitable[None]] | None = None) -> str:
    async with nodes.gate.hold(job()) as place:
        if work is not None:
            await work(place.node)
        return place.node


async def test_two_nodes_come_up_and_say_how_loaded_they_are(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a", "b") as nodes:
        await until(lambda: all(row["kv_tokens"] == 1600 for row in nodes.rows()))
        assert states(nodes) == {"a": "ready", "b": "ready"}
        assert nodes.rows()[0]["kv_usage"] == 0.25
        assert nodes.models() == {"m"}
        assert nodes.any_ready("m") is not None
        assert nodes.any_ready("other") is None


async def test_a_node_that_is_killed_starts_again_and_the_other_serves_meanwhile(
    tmp_path: Path, quick: Engines
) -> None:
    async with peer(tmp_path, quick, "a", "b") as nodes:
        await until(lambda: states(nodes) == {"a": "ready", "b": "ready"})
        quick.broken.add(url(tmp_path, "a"))
        os.kill(quick.processes[url(tmp_path, "a")].pid, signal.SIGKILL)
        await until(lambda: nodes.rows()[0]["starts"] >= 4)
        assert states(nodes) == {"a": "down", "b": "ready"}
        assert "out of memory" in nodes.rows()[0]["said"]
        assert nodes.ready("a") is None
        assert {await node_of(nodes) for _ in range(4)} == {"b"}
        quick.broken.clear()
        await until(lambda: states(nodes)["a"] == "ready")
        async with nodes.gate.hold(job()) as one, nodes.gate.hold(job()) as other:
            assert {one.node, other.node} == {"a", "b"}


async def test_the_pause_before_a_restart_grows_and_the_peer_never_ends(
    tmp_path: Path, quick: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml_nodes, "ENGINE_PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(ml_nodes, "ENGINE_PAUSE_MAX_S", 0.05)
    quick.broken.add(url(tmp_path, "a"))
    pauses: list[float] = []
    sleep = trio.sleep

    async def note(seconds: float) -> None:
        if seconds in (0.01, 0.02, 0.04, 0.05):
            pauses.append(seconds)
        await sleep(seconds)

    async with peer(tmp_path, quick, "a") as nodes:
        monkeypatch.setattr(trio, "sleep", note)
        while nodes.rows()[0]["starts"] < 7:
            await trio.lowlevel.checkpoint()
    assert pauses[:5] in ([0.01, 0.02, 0.04, 0.05, 0.05], [0.02, 0.04, 0.05, 0.05, 0.05])


async def test_a_fault_of_our_own_is_a_restart_too(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a") as nodes:
        await until(lambda: states(nodes)["a"] == "ready")
        run, times = quick.run_one, 0

        async def faulty(*arguments: Any) -> None:
            nonlocal times
            times += 1
            if times == 1:
                raise ZeroDivisionError
            await run(*arguments)

        nodes.run_one = faulty
        os.kill(quick.processes[url(tmp_path, "a")].pid, signal.SIGKILL)
        await until(lambda: times == 2 and states(nodes)["a"] == "ready")


async def test_a_wrong_setting_of_the_single_node_may_end_the_peer_and_no_other_does(
    tmp_path: Path, quick: Engines
) -> None:
    async def wrong(*arguments: Any) -> None:
        raise ConfigError("a setting", field="model")

    for name, ends in (("default", True), ("other", False)):
        config = make_config(tmp_path, {"ml_node": "http://x"} if ends else {"ml_nodes": [
            {"name": name, "model": "m", "url": "http://x"},
        ]})
        nodes = MlNodes(config, Gate(), wrong, fatal=lambda error: isinstance(error, ConfigError))
        found: list[BaseException] = []
        async with trio.open_nursery() as nursery:

            async def run(nodes: MlNodes = nodes, found: list[BaseException] = found) -> None:
                try:
                    await nodes.run()
                except ExceptionGroup as group:
                    found.append(group)

            nursery.start_soon(run)
            while not found and nodes.rows()[0]["starts"] < 3:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert bool(found) is ends
    del quick


# -- what `folkmoot ml` asks -------------------------------------------------------------------------------------------


async def test_a_node_is_added_drained_and_removed_while_the_peer_runs(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a") as nodes:
        ask = ml_handler(nodes, lambda request: {"other": True})
        assert ask({"op": "status"}) == {"other": True}
        entry = {"name": "new", "model": "m", "url": url(tmp_path, "new")}
        ask({"op": "ml_add", "entry": entry})
        assert [one.name for one in load_config(tmp_path).ml_nodes] == ["new"], "it is there after a restart"
        await until(lambda: states(nodes) == {"a": "ready", "new": "ready"})

        ask({"op": "ml_drain", "name": "a"})
        assert {await node_of(nodes) for _ in range(4)} == {"new"}
        ask({"op": "ml_drain", "name": "a", "on": False})
        assert states(nodes)["a"] == "ready"

        async def meanwhile(name: str) -> None:
            """The job on the node that is to go goes on to its end."""
            (answer,) = [row for row in ask({"op": "ml_remove", "name": name})["ml_nodes"] if row["name"] == name]
            assert answer["state"] == "removing"
            for _ in range(10):  # looks whether it is idle, at least
                await trio.sleep(ml_nodes.IDLE_LOOK_S)
            assert name in states(nodes)
            assert quick.processes[url(tmp_path, name)].poll() is None

        gone = await node_of(nodes, meanwhile)
        await until(lambda: gone not in states(nodes))
        await until(lambda: quick.processes[url(tmp_path, gone)].poll() is not None)
        assert {await node_of(nodes) for _ in range(4)} == {"a", "new"} - {gone}
        last = ({"a", "new"} - {gone}).pop()
        ask({"op": "ml_remove", "name": last, "now": True})
        assert nodes.rows() == []
        assert load_config(tmp_path).ml_nodes == ()


async def test_a_drained_node_stays_drained_after_a_restart(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a", "b") as nodes:
        ask = ml_handler(nodes, lambda request: {})
        ask({"op": "ml_drain", "name": "a"})
        ask({"op": "ml_drain", "name": "b"})
        ask({"op": "ml_drain", "name": "b", "on": False})
    async with peer(tmp_path, quick, "a", "b") as nodes:
        await until(lambda: states(nodes) == {"a": "draining", "b": "ready"})
        assert {await node_of(nodes) for _ in range(4)} == {"b"}
        ml_handler(nodes, lambda request: {})({"op": "ml_drain", "name": "a", "on": False})
    async with peer(tmp_path, quick, "a", "b") as nodes:
        await until(lambda: states(nodes) == {"a": "ready", "b": "ready"})
    (tmp_path / "drained.json").write_text("{}")
    with pytest.raises(ConfigError, match="list of names"):
        MlNodes(make_config(tmp_path, {}), Gate(), quick.run_one)


async def test_what_cannot_be_written_down_is_not_drained(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a") as nodes:
        (tmp_path / "drained.json").mkdir()
        with pytest.raises(FolkmootError):
            ml_handler(nodes, lambda request: {})({"op": "ml_drain", "name": "a"})
        await until(lambda: states(nodes) == {"a": "ready"})


async def test_a_wrong_question_changes_nothing(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick, "a") as nodes:
        ask = ml_handler(nodes, lambda request: {})
        for wrong in (
            {"op": "ml_add"}, {"op": "ml_add", "entry": {"name": "x"}}, {"op": "ml_drain"},
            {"op": "ml_add", "entry": {"name": "a", "model": "m", "url": "http://x"}},
            {"op": "ml_add", "entry": {"name": "x", "model": "m", "url": "http://x", "path": "/"}},
            {"op": "ml_drain", "name": "x"}, {"op": "ml_drain", "name": "a", "on": 1},
            {"op": "ml_remove", "name": "x"}, {"op": "ml_remove", "name": "default"},
        ):
            with pytest.raises(InvalidRequest):
                ask(wrong)
        assert list(states(nodes)) == ["a"]
        assert (tmp_path / "config.toml").read_text() == "# settings\n"


async def test_what_cannot_be_kept_in_the_settings_is_not_done(tmp_path: Path, quick: Engines) -> None:
    async with peer(tmp_path, quick) as nodes:
        (tmp_path / "config.toml").write_text("ml_nodes = []\n")
        ask = partial(ml_handler(nodes, lambda request: {}), {
            "op": "ml_add", "entry": {"name": "x", "model": "m", "url": "http://127.0.0.1:1"},
        })
        with pytest.raises(InvalidRequest, match="as a table"):
            ask()
        assert nodes.rows() == []


def test_names_are_unique(tmp_path: Path) -> None:
    nodes = MlNodes(make_config(tmp_path, {}), Gate(), Engines().run_one)
    nodes.add(MlNodeSettings("a", "m", "http://x"))
    with pytest.raises(ConfigError, match="already"):
        nodes.add(MlNodeSettings("a", "m", "http://x"))
    assert len(nodes) == 1
