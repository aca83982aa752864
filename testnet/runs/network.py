"""The processes of one run: engines, peers, clients; started in turn, and waited for.

Law: it starts and waits; what is done to the network and what is judged is elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from p2p.base.errors import FolkmootError, Unavailable
from p2p.inference.stack.model import prepare_model
from p2p.peer.control import call
from testnet.manifest.members import Member
from testnet.providers.provider import Provider
from testnet.runs import machine_faults
from testnet.runs.engines import Server, socket_of
from testnet.runs.engines import task_of as engine_task
from testnet.runs.gathering import tail
from testnet.runs.plan import RunPlan, client_task, task_of

ENGINE_S = {"simulated": 30.0, "vllm": 420.0}  # limit for an engine to be ready
STARTING = 4  # peers that start at once: each imports for seconds of a processor
LEAST_CONNECTIONS = 4
POLL_S = 0.25
SAY_S = 10.0  # between two lines of progress


@dataclass(slots=True)
class Network:
    plan: RunPlan
    provider: Provider
    say: Callable[[str], None]
    started: set[str] = field(default_factory=set)  # members that were started and not stopped on purpose

    # -- engines ---------------------------------------------------------------------------------------------------

    def start_engines(self) -> None:
        for server in self.plan.servers():
            self.start_engine(server.name)

    def start_engine(self, name: str) -> None:
        """Start an ML node and wait until it answers. Raises Unavailable."""
        server = next(one for one in self.plan.servers() if one.name == name)
        altered = None
        if server.attack and server.engine == "vllm":
            from p2p.lab import attacks
            from p2p.lab.attacks import weights

            kind = attacks.get(server.attack).weights
            altered = weights.prepare(kind, self.say, self.plan.model) if kind and self.plan.model else None
        task = engine_task(server, self.plan.sockets, self.plan.logs, self.plan.model, altered)
        task.log.parent.mkdir(exist_ok=True)
        if task.log.exists():
            task.log.rename(task.log.with_suffix(".before.log"))  # its line `ready` was of an earlier life
        socket_of(self.plan.sockets, server).unlink(missing_ok=True)
        self.provider.start(task)
        self.say(f"{name} loads" + (" (vLLM, about a minute)" if server.engine == "vllm" else ""))
        self._wait_engine(server)

    def _wait_engine(self, server: Server) -> None:
        deadline = time.monotonic() + ENGINE_S[server.engine]
        while not answers(self.plan, server):
            if self.provider.pid(server.name) is None:
                log = self.plan.logs / f"{server.name}.log"
                raise Unavailable(f"{server.name} ended while it loaded: {tail(log)}", field="engine")
            if time.monotonic() > deadline:
                raise Unavailable(f"{server.name} was not ready in {ENGINE_S[server.engine]:.0f} s", field="engine")
            time.sleep(POLL_S)

    # -- peers -----------------------------------------------------------------------------------------------------

    def start(self, member: Member) -> None:
        """Start one peer or bootstrap peer."""
        task = task_of(self.plan, member)
        task.log.parent.mkdir(mode=0o700, exist_ok=True)
        self.provider.start(task)
        self.started.add(member.name)

    def start_peers(self) -> None:
        """All that are not later, a few at a time."""
        members = [m for m in self.plan.members if m.role != "client" and not m.group.later]
        coming: list[Member] = []
        for number, member in enumerate(members, 1):
            while len(coming) >= STARTING:
                time.sleep(POLL_S)
                self._look_for_ends(coming)
                coming = [one for one in coming if not self._talks(one)]
            self.start(member)
            if member.is_peer:
                coming.append(member)
            if number == len(members) or number % STARTING == 0:
                self.say(f"{number}/{len(members)} started")

    def _talks(self, member: Member) -> bool:
        """Whether a peer answers on its control socket."""
        return self.status(member) is not None

    def status(self, member: Member) -> dict[str, object] | None:
        try:
            return dict(call(self.plan.folder(member.name), {"op": "status"}))
        except FolkmootError:
            return None

    def _look_for_ends(self, members: Sequence[Member]) -> None:
        """Raises Unavailable with the end of its log where one has ended."""
        for member in members:
            if self.provider.pid(member.name) is None:
                log = task_of(self.plan, member).log
                raise Unavailable(f"{member.name} ended: {tail(log)}", field="peer")

    def wait_for_mesh(self, limit_s: float) -> None:
        """Until every peer is ready, has its connections, and blocks are made. Raises Unavailable with what lacks."""
        members = [m for m in self.plan.peers if not m.group.later]
        wanted = min(LEAST_CONNECTIONS, len(members) - 1)
        deadline, said = time.monotonic() + limit_s, time.monotonic()
        while True:
            statuses = {member.name: self.status(member) for member in members}
            lacking = [name for name, status in statuses.items() if not _is_up(status, wanted)]
            if not lacking:
                return
            now = time.monotonic()
            if now > deadline:
                raise Unavailable(f"no mesh within {limit_s:g} s; not ready: {', '.join(lacking)}", field="start_s")
            if now - said > SAY_S:
                said = now
                up = len(members) - len(lacking)
                self.say(f"{up}/{len(members)} are up, at most {deadline - now:.0f} s left")
            self._look_for_ends(members)
            time.sleep(POLL_S * 4)

    # -- clients ---------------------------------------------------------------------------------------------------

    def start_clients(self) -> None:
        for member in self.plan.members:
            if member.role == "client":
                self.provider.start(client_task(self.plan, member))
                self.started.add(member.name)

    def stop_clients(self) -> None:
        for member in self.plan.members:
            if member.role == "client" and member.name in self.started:
                self.provider.stop(member.name)
                self.started.discard(member.name)


def give_disks(plan: RunPlan, names: Sequence[str]) -> None:
    """Put these members' folders onto disks of their own."""
    for name in names:
        machine_faults.give_disk(plan.folder(name))


def prepare_engine(plan: RunPlan, say: Callable[[str], None]) -> dict[str, str]:
    """The model of real engines, or the simulated one's files. Returns settings of every peer with an engine."""
    kinds = {member.group.engine for member in plan.members} - {"none"}
    if kinds & {"vllm", "torch"}:
        plan.model = prepare_model(say)
        return {}
    if kinds:
        from testnet.simulated_calibration import write_files

        folder = plan.directory / "simulated"
        folder.mkdir(mode=0o700)
        return write_files(folder)
    return {}


def answers(plan: RunPlan, server: Server) -> bool:
    """Whether an ML node is ready: vLLM says so once it is warm; the simulated one answers on its socket."""
    import httpx

    path, log = socket_of(plan.sockets, server), plan.logs / f"{server.name}.log"
    if not path.exists():
        return False
    if server.engine == "vllm":
        return any(line.startswith("ready ") for line in log.read_text(errors="replace").splitlines())
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=5.0) as client:
            return client.get("http://engine/health").status_code == 200
    except httpx.HTTPError:
        return False


def _is_up(status: dict[str, object] | None, wanted: int) -> bool:
    if status is None:
        return False
    connections, height = status["connections"], status["height"]
    assert isinstance(connections, int)
    assert isinstance(height, int)
    return status["state"] == "ready" and connections >= wanted and height >= 1
