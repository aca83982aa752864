"""Supervises the ML nodes of one peer: each has a task of its own, and the scheduler knows how each of them is.

Law: whatever happens to one ML node, the others serve and the peer runs. One that fails is started again after a pause
that grows to ENGINE_PAUSE_MAX_S and never ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio
from msgspec.structs import replace

from p2p.base.errors import ConfigError
from p2p.base.limits import ENGINE_PAUSE_FIRST_S, ENGINE_PAUSE_MAX_S, MAX_LOG_TEXT, TASK_CALM_S
from p2p.machine.logs import plain
from p2p.machine.tasks import reason_of
from p2p.peer.config import NodeConfig
from p2p.peer.engine_watch import watch
from p2p.peer.gate import Gate
from p2p.peer.ml_drained import read_drained
from p2p.peer.ml_settings import DEFAULT, MlNodeSettings
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec

if TYPE_CHECKING:
    from p2p.inference.vllm.engine import VllmClient
    from p2p.peer.ml_node import Lend, Progress, Watch
    from p2p.peer.ready_engine import ReadyEngine

    # finds or starts one ML node, tests it, lends it while `watch` runs; raises when it does not come up
    RunOne = Callable[[NodeConfig, Lend, Progress, Watch], Awaitable[None]]

log = structlog.get_logger()

IDLE_LOOK_S = 0.2  # between two looks whether a node that is to be removed is idle


@dataclass(slots=True)
class Supervised:
    """One ML node while the peer runs."""

    settings: MlNodeSettings
    config: NodeConfig  # as for a peer with this ML node alone
    ready: ReadyEngine | None = None
    said: str = ""  # its last line of progress, or why it failed
    starts: int = 0
    ends: bool = False  # it is being removed
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass(slots=True)
class MlNodes:
    """One per peer."""

    config: NodeConfig
    gate: Gate
    run_one: RunOne
    say: Progress = lambda text: None  # for the operator
    changed: Callable[[], None] = lambda: None  # an ML node was lent, or taken back
    # whether an error of the node `default` ends the peer, as a wrong setting may before it ever served
    fatal: Callable[[BaseException], bool] = lambda error: False
    _all: dict[str, Supervised] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None

    def __post_init__(self) -> None:
        drained = read_drained(self.config.directory)
        for settings in self.config.every_ml_node:
            self._enter(settings)
            if settings.name in drained:
                self.gate.scheduler.drain(settings.name)

    # -- what roles ask ------------------------------------------------------------------------------------------

    def ready(self, name: str) -> ReadyEngine | None:
        """The engine of the ML node of that name; None while it is not lent."""
        return self._all[name].ready if name in self._all else None

    def any_ready(self, model: str = "") -> ReadyEngine | None:
        """Some engine that is lent; model: that serves it."""
        found = (one for one in self._all.values() if model in ("", one.settings.model))
        return next((one.ready for one in found if one.ready is not None), None)

    def models(self) -> frozenset[str]:
        """Of the ML nodes that are lent."""
        return frozenset(one.settings.model for one in self._all.values() if one.ready is not None)

    def __len__(self) -> int:
        return len(self._all)

    # -- what the operator asks ----------------------------------------------------------------------------------

    def add(self, settings: MlNodeSettings) -> None:
        """Start one more. Raises ConfigError."""
        one = self._enter(settings)
        if self._nursery is not None:
            self._nursery.start_soon(self._keep, one)

    def drain(self, name: str, *, on: bool = True) -> None:
        """It gets nothing new, and goes on being supervised. Raises ConfigError for an unknown name."""
        self.gate.scheduler.drain(name, on=on)
        self.gate.settle()

    def remove(self, name: str, *, now: bool = False) -> None:
        """It gets nothing new, and ends when what runs there has ended; now: at once. Raises ConfigError."""
        self.drain(name)
        one = self._all[name]
        if one.ends and not now:
            return
        if now or self._nursery is None:
            one.ends = True
            one.scope.cancel()
            self._leave(name)
            return
        one.ends = True
        self._nursery.start_soon(self._end_when_idle, name)

    def rows(self) -> list[dict[str, Any]]:
        """For people: each ML node's settings, state and load."""
        views = {view.name: view for view in self.gate.scheduler.views()}
        found = []
        for name, one in self._all.items():
            view = views[name]
            state = "removing" if one.ends else "loading" if view.state == "down" and one.starts < 2 else view.state
            found.append({
                "name": name, "model": one.settings.model, "where": one.settings.where, "state": state,
                "jobs": view.jobs, "max_jobs": view.max_jobs, "kv_tokens": view.kv_tokens, "kv_usage": view.kv_usage,
                "engine_running": view.engine_running, "engine_waiting": view.engine_waiting,
                "tokens_per_s": self.gate.scheduler.rate(one.settings.model), "starts": one.starts, "said": one.said,
            })
        return found

    # -- tasks ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.gate.run)
            try:
                for one in list(self._all.values()):
                    if one.ends:
                        self._leave(one.settings.name)
                    else:
                        nursery.start_soon(self._keep, one)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _keep(self, one: Supervised) -> None:
        """One ML node, again and again, until it is removed."""
        pause_s = ENGINE_PAUSE_FIRST_S
        one.scope = trio.CancelScope()
        with one.scope:
            while not one.ends:
                began = trio.current_time()
                why = await self._once(one)
                if trio.current_time() - began > TASK_CALM_S:
                    pause_s = ENGINE_PAUSE_FIRST_S
                self._say(one, f"{why}; it starts again in {pause_s:.0f} s")
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, ENGINE_PAUSE_MAX_S)

    async def _once(self, one: Supervised) -> str:
        """From its start to its end: why it ended. Raises StorageError, Cancelled and what is fatal."""
        one.starts += 1
        name = one.settings.name

        async def watched(client: VllmClient) -> None:
            await watch(client.url, partial(self.gate.observe, name))

        try:
            await self.run_one(one.config, partial(self._lend, one), partial(self._say, one), watched)
            return "it ended"
        except BaseException as error:
            reason = reason_of(error, self.fatal) if name == DEFAULT else reason_of(error)
            if not isinstance(reason, ConfigError):
                log.warning("an ML node failed", ml_node=name, reason=str(reason)[:MAX_LOG_TEXT])
            return str(reason) or type(reason).__name__
        finally:
            self._lend(one, None)

    async def _end_when_idle(self, name: str) -> None:
        one = self._all[name]
        while self._all.get(name) is one and not self.gate.scheduler.is_idle(name):
            await trio.sleep(IDLE_LOOK_S)
        if self._all.get(name) is one:
            one.scope.cancel()
            self._leave(name)

    # -- inside --------------------------------------------------------------------------------------------------

    def _enter(self, settings: MlNodeSettings) -> Supervised:
        self.gate.scheduler.add(NodeSpec(settings.name, settings.model, settings.max_jobs))
        one = self._all[settings.name] = Supervised(settings, one_node(self.config, settings))
        return one

    def _leave(self, name: str) -> None:
        del self._all[name]
        self.gate.scheduler.remove(name)
        self.gate.settle()
        self.changed()

    def _lend(self, one: Supervised, ready: ReadyEngine | None) -> None:
        if one.ready is ready is None:
            return  # it never came up
        one.ready = ready
        if self._all.get(one.settings.name) is one:  # else it was removed
            self.gate.observe(one.settings.name, Metrics() if ready is not None else None)
            self.changed()

    def _say(self, one: Supervised, text: str) -> None:
        one.said = plain(text, MAX_LOG_TEXT)
        self.say(one.said if one.settings.name == DEFAULT else f"{one.settings.name}: {one.said}")


def one_node(config: NodeConfig, one: MlNodeSettings) -> NodeConfig:
    """The settings of a peer with this ML node alone. Its log lies in DIR/ml/NAME/log: a file has one writer."""
    if one.name == DEFAULT:
        return replace(config, ml_nodes=())
    return replace(
        config, ml_nodes=(), directory=config.directory / "ml" / one.name, model=one.model, model_path=one.path,
        ml_node=one.url, ml_node_key=one.key_file, tokenizer=one.tokenizer, engine="vllm", engine_threads=None,
        engine_flags=one.engine_flags,
    )
