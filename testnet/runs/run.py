"""One run: set up, start, wait for the mesh, load and perturb, settle, check, stop, collect.

Law: whatever happens, what was started is stopped and what was made is removed; what was seen until then is kept.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.base.files import make_folder
from p2p.base.types import ENDED
from testnet.fabric.fabric import Fabric
from testnet.manifest.kinds import Needs
from testnet.manifest.members import members
from testnet.manifest.model import Manifest
from testnet.processes import fresh_directory
from testnet.providers.containers import ContainerProvider
from testnet.providers.local import LocalProvider
from testnet.providers.provider import Provider
from testnet.runs import leftovers, machine_faults, network
from testnet.runs.checks import all_checks
from testnet.runs.evidence import Evidence
from testnet.runs.gathering import Gathering, tail
from testnet.runs.network import Network
from testnet.runs.perturbing import Perturber
from testnet.runs.plan import RunPlan, emulates, needs, task_of, write
from testnet.runs.progress import Progress
from testnet.runs.result import CheckResult, Result, write_result
from testnet.runs.summing import topics_of, totals, warn_of
from testnet.runs.watching import Watcher

SAY_S = 10.0  # between two lines of progress
STEP_S = 0.1
SETTLE_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a manifest is run."""

    directory: Path
    provider: str = ""  # empty: as the manifest says
    source: Path | None = None  # of the program that peers run; None: this one
    previous: Path | None = None  # source of the previous release
    fault: str = ""  # what is wrong with `source`, for the report


@dataclass(slots=True)
class Run:
    manifest: Manifest
    options: Options
    out: Callable[[str], None]
    progress: Progress = field(init=False)
    plan: RunPlan = field(init=False)
    provider: Provider = field(init=False)
    network: Network = field(init=False)
    perturber: Perturber = field(init=False)
    watcher: Watcher = field(init=False)
    evidence: Evidence = field(init=False)
    fabric: Fabric | None = None
    load_began: float = 0.0

    def execute(self) -> Result:
        """Raises ConfigError, Unavailable where the network does not come up; a check that fails is in the result."""
        self.progress = Progress(self.out)
        leftovers.sweep(self.progress.say)
        with ExitStack() as stack:
            self._set_up(stack)
            self._start()
            self._load()
            self._settle()
            self._check()
            self.progress.stage("stop")
        self.progress.stage("collect")
        return self._collect()

    @property
    def _provider_name(self) -> str:
        return self.options.provider or self.manifest.provider

    # -- stages ----------------------------------------------------------------------------------------------------

    def _set_up(self, stack: ExitStack) -> None:
        manifest, directory = self.manifest, self.options.directory.resolve()
        self.progress.stage("set up", f"{manifest.name}, seed {manifest.seed}, {self._provider_name}, in {directory}")
        wanted = needs(manifest)
        if why := machine_faults.missing(wanted):
            raise ConfigError(why, field="provider")
        if any(group.release == "previous" for group in manifest.peers) and self.options.previous is None:
            raise ConfigError("peers of the previous release need its source: --previous DIR or a git revision",
                              field="previous")
        fresh_directory(directory)
        run = f"{os.getpid() % 100_000}{int(time.time()) % 1000:03}"
        linked = self._provider_name == "containers" or Needs.LINKS in wanted
        everybody = members(manifest)
        leftovers.begin(run, manifest.name, directory, self._provider_name,
                        [member.name for member in everybody] if linked else [])
        stack.callback(leftovers.clean, run, directory)
        self.plan = RunPlan(manifest, run, directory, linked, leftovers.sockets_folder(run),
                            source=self.options.source, previous=self.options.previous)
        self.plan.members = everybody
        settings = network.prepare_engine(self.plan, self.progress.say)
        write(self.plan, settings)
        make_folder(self.plan.logs)
        if Needs.CLOCKS in wanted:
            for member in self.plan.peers:
                machine_faults.set_clock(self.plan.folder(member.name), 0.0)
        if Needs.DISKS in wanted:
            network.give_disks(self.plan, [member.name for member in self.plan.peers])
        self.fabric = Fabric(
            run, self.plan.members, manifest.links, manifest.seed, emulated=emulates(manifest)
        ) if linked else None
        self.provider = self._make_provider(run)
        stack.callback(self.provider.close)
        self.provider.open()
        self.network = Network(self.plan, self.provider, self.progress.say)
        self.watcher = Watcher({m.name: self.plan.folder(m.name) for m in self.plan.peers}, self.provider.pid)
        stack.callback(self.watcher.stop)
        self.perturber = Perturber(
            self.plan, self.provider, self.fabric, self.network.start, self.network.start_engine, self.progress.say
        )
        self.evidence = Evidence(
            [member.name for member in self.plan.peers], manifest.load is not None, self.watcher.looks,
            self.perturber.events, gone=self.perturber.left,
        )

    def _make_provider(self, run: str) -> Provider:
        if self._provider_name == "containers":
            assert self.fabric is not None
            engines = any(member.group.engine in ("vllm", "torch") for member in self.plan.members)
            return ContainerProvider(run, self.plan.directory, self.fabric, engines=engines)
        return LocalProvider(self.plan.directory, self.fabric)

    def _start(self) -> None:
        self.progress.stage("start", f"{len(self.plan.peers)} peers")
        self.network.start_engines()
        self.network.start_peers()
        self.progress.stage("wait for the mesh")
        self.network.wait_for_mesh(self.manifest.start_s)
        self.watcher.start()

    def _load(self) -> None:
        """Clients ask while the perturbations of the manifest happen."""
        manifest = self.manifest
        self.progress.stage("load", f"{manifest.seconds:g} s, {len(manifest.perturbations)} perturbations")
        self.network.start_clients()
        self.load_began = began = time.time()
        agenda = self.perturber.agenda()
        said = began
        while (now := time.time()) < began + manifest.seconds or agenda:
            while agenda and began + agenda[0].at_s <= now:
                agenda.pop(0).do()
            if now - said >= SAY_S:
                said = now
                self.progress.say(warn_of(self.watcher.last(), began + manifest.seconds - now))
            time.sleep(STEP_S)
        self.network.stop_clients()

    def _settle(self) -> None:
        """Wait for what was answered to come to its end, and for heights to grow after the last perturbation."""
        limit_s = self.manifest.settle_s
        self.progress.stage("settle", f"at most {limit_s:g} s")
        gathering = Gathering(self.plan, self._running())
        answers = gathering.answers()
        deadline, waiting = time.time() + limit_s, {answer.id for answer in answers if answer.id}
        least = time.time() + SETTLE_LOOK_S
        healing = [event for event in self.perturber.events if event.ended is not None]
        while time.time() < deadline and (waiting or healing or time.time() < least):
            time.sleep(SETTLE_LOOK_S)
            booked = gathering.booked([answer for answer in answers if answer.id in waiting])
            waiting -= {one for one, found in booked.items() if found is not None and found.status in ENDED}
            healing = [event for event in healing if self.evidence.grown(event.ended or 0.0, event.names) is None]
            if waiting:
                self.progress.say(f"{len(waiting)} answers wait for their end, {deadline - time.time():.0f} s left")

    def _running(self) -> list[str]:
        return [m.name for m in self.plan.peers if self.provider.pid(m.name) is not None]

    def _check(self) -> None:
        self.progress.stage("check")
        running = self._running()
        meant = {m.name for m in self.plan.members if m.role != "client"} & self.network.started
        died = {}
        for name in sorted(meant - self.perturber.left - self.perturber.down):
            if self.provider.pid(name) is None:
                died[name] = tail(task_of(self.plan, next(m for m in self.plan.members if m.name == name)).log)
        gathering = Gathering(self.plan, running)
        answers = gathering.answers()
        self.watcher.stop()
        seen = self.evidence
        seen.answers, seen.died, seen.links = answers, died, gathering.links()
        seen.blocks, seen.inferences = gathering.blocks(), gathering.booked(answers)
        seen.sums, seen.conduct = gathering.sums(), gathering.conduct(answers)

    def _collect(self) -> Result:
        """The result, written to the run's folder beside logs and stores."""
        checks = all_checks(self.evidence, self.manifest.checks)
        for check in checks:
            self._say_check(check)
        self.progress.end()
        result = totals(
            self.manifest, self.plan, self.evidence, checks, self.progress.took, self.load_began,
            topics_of(self.watcher), self._provider_name, self.fabric.counts if self.fabric else {}, self.options.fault,
        )
        write_result(result, self.plan.directory)
        shutil.rmtree(self.plan.directory / "simulated", ignore_errors=True)
        return result

    def _say_check(self, check: CheckResult) -> None:
        self.progress.say(f"{'holds' if check.holds else 'FAILS'}  {check.name}: {check.says}")
        for failure in check.failures:
            self.progress.say(f"         {failure}")
