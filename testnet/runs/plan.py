"""From a manifest to folders and tasks: what each process is called, reads, and is started with.

Law: it writes files and starts nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from p2p.base.files import write_file
from p2p.base.genesis import CheckRules, Genesis, GenesisAccount, load_genesis
from p2p.base.keys import Key
from p2p.lab.settings import FILE as LAB_FILE
from testnet.generate import CLIENT_BALANCE_MICRO, NO_SPRINT, SHORT_SPRINT, PeerPlan, Plan, generate
from testnet.manifest.kinds import KINDS, Needs
from testnet.manifest.members import PORT, Member, members
from testnet.manifest.model import Manifest
from testnet.processes import HONEST, LAB
from testnet.providers.provider import Task
from testnet.runs.asking import TARGET, Target
from testnet.runs.engines import Server, server_of, servers, socket_of
from testnet.runs.machine_faults import CLOCK_FILE, clock_env

WEIGHT = 10  # of a validator or host in the genesis file


def needs(manifest: Manifest) -> Needs:
    """What the provider must be able to do."""
    found = Needs.LINKS if manifest.links or any(group.nat for group in manifest.peers) else Needs.NOTHING
    for one in manifest.perturbations:
        found |= KINDS[one.kind].needs
    return found


def emulates(manifest: Manifest) -> bool:
    """Whether packets have to pass the emulator."""
    return bool(manifest.links) or any(one.kind in ("slow-link", "loss") for one in manifest.perturbations)


@dataclass(slots=True)
class RunPlan:
    """Everything about a run that is decided before it starts."""

    manifest: Manifest
    run: str  # its id: in names of namespaces and containers
    directory: Path
    linked: bool  # members have addresses of the fabric
    sockets: Path  # folder of the engines' sockets
    model: Path | None = None  # of real engines
    members: tuple[Member, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)  # on loopback, by member
    by_name: bool = False  # members know each other by name, each on a machine of its own
    source: Path | None = None  # of the program that peers run; None: this one
    previous: Path | None = None  # of the previous release
    upgraded: set[str] = field(default_factory=set)  # members that have left the previous release

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def peers(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.is_peer)

    @property
    def genesis(self) -> Genesis:
        return load_genesis(self.directory / "client" / "genesis.cbor")

    def folder(self, name: str) -> Path:
        return self.directory / name

    def node(self, name: str) -> str:
        """Public node key of a peer, hexadecimal."""
        return Key.load(self.folder(name) / "node.key").public.hex()

    def listen(self, member: Member) -> str:
        if self.by_name:
            return f"/ip4/0.0.0.0/tcp/{PORT}"
        if self.linked:
            return f"/ip4/{member.own_address}/tcp/{PORT}"
        return f"/ip4/127.0.0.1/tcp/{self.ports[member.name]}"

    def address(self, member: Member) -> str:
        """The multiaddr by which others know it."""
        where = f"/dns4/{member.name}/tcp/{PORT}" if self.by_name else self.listen(member)
        return f"{where}/p2p/{Key.load(self.folder(member.name) / 'node.key').peer_id}"

    def first(self) -> Member:
        """The one whose address everybody is told: the bootstrap peer, or else the first peer."""
        public = [member for member in self.members if not member.group.nat and member.role != "client"]
        return next((member for member in public if member.role == "bootstrap"), public[0])

    def servers(self) -> list[Server]:
        return servers(self.members)


def write(plan: RunPlan, engine_settings: Mapping[str, Any], *, tokenizer: str | None = None) -> None:
    """Write keys, genesis file and every member's folder. engine_settings: of each peer with an engine. tokenizer:
    where peers find a real model's, if not in the model's folder here.

    Raises ConfigError for rules or settings that do not fit together.
    """
    manifest = plan.manifest
    plan.members = members(manifest)
    if not plan.linked:
        plan.ports = {member.name: free_port() for member in plan.members}
    rules = manifest.network
    honest = next((url_of(plan, server) for server in plan.servers() if not server.attack), "")
    purses = {member.name: Key.generate() for member in plan.members if member.role == "client"}
    generate(Plan(
        plan.directory, len(plan.peers), network=manifest.name, model_dir=plan.model, honest_ml_node=honest,
        settings=tuple({
            "expected_size": len(plan.peers), **({"tokenizer": tokenizer} if tokenizer else {}), **rules.settings,
        }.items()),
        validation_window=rules.validation_window, epoch_blocks=rules.epoch_blocks,
        sprint=SHORT_SPRINT if rules.sprint else NO_SPRINT,
        checks=CheckRules(reveal_window=rules.reveal_window, appeal_window=rules.appeal_window),
        each=tuple(_peer(plan, member, engine_settings) for member in plan.peers),
        accounts=tuple(GenesisAccount(key.public, CLIENT_BALANCE_MICRO) for key in purses.values()),
    ))
    for member in plan.members:
        if member.role == "bootstrap":
            plan.folder(member.name).mkdir(mode=0o700)
            Key.generate().save(plan.folder(member.name) / "node.key")
        elif member.role == "client":
            _write_client(plan, member, purses[member.name])


def _peer(plan: RunPlan, member: Member, engine_settings: Mapping[str, Any]) -> PeerPlan:
    group = member.group
    settings: dict[str, Any] = {"listen": [plan.listen(member)]}
    if group.engine == "torch":
        settings |= {"engine": "torch", "model_path": str(plan.model), "engine_threads": 1}
    elif group.engine != "none":
        settings |= engine_settings
    return PeerPlan(
        member.name, weight=0 if group.role == "agent" else WEIGHT, serves=group.role == "host",
        registered=group.registered, cheat=group.villain, settings={**settings, **group.settings},
    )


def _write_client(plan: RunPlan, member: Member, account: Key) -> None:
    """A client's folder: its account, the genesis file, and where and how often it asks."""
    folder, load = plan.folder(member.name), plan.manifest.load
    assert load is not None
    clients = sum(1 for other in plan.members if other.role == "client")
    reached = [other for other in plan.peers if not other.group.later and not other.group.nat]
    entrances = [plan.address(other) for other in reached if other.is_registered]
    folder.mkdir(mode=0o700)
    account.save(folder / "account.key")
    write_file(folder / "genesis.cbor", (plan.folder("client") / "genesis.cbor").read_bytes(), field="dir")
    target = Target(
        tuple(entrances), load.rate / clients, load.max_tokens, load.patience_s, load.at_once, plan.manifest.seed
    )
    write_file(folder / TARGET, msgspec.json.encode(target), field="dir")


def url_of(plan: RunPlan, server: Server) -> str:
    return f"unix:{socket_of(plan.sockets, server)}"


def task_of(plan: RunPlan, member: Member) -> Task:
    """How a bootstrap peer or a peer is started."""
    folder, first = plan.folder(member.name), plan.first()
    log = folder / "log" / "peer.log"
    old = member.group.release == "previous" and member.name not in plan.upgraded
    release = plan.previous if old else plan.source
    if member.role == "bootstrap":
        seed = ("bootstrap.seed", "--listen", plan.listen(member), "--key", str(folder / "node.key"),
                "--network", str(plan.genesis.network))
        return Task(member.name, seed, log, (folder,), linked=True)
    argv: tuple[str, ...] = (*(LAB if (folder / LAB_FILE).exists() else HONEST), "--dir", str(folder))
    if member.name != first.name:
        argv += ("--bootstrap", plan.address(first))
    elif len(plan.peers) > 1:
        argv += ("--bootstrap", plan.address(plan.peers[1]))  # after a restart it is the newcomer
    server, folders = server_of(member), [folder]
    if server is not None:
        argv += ("--ml-node", url_of(plan, server))
        folders.append(plan.sockets)
    if plan.model is not None:
        folders.append(plan.model)
    if (plan.directory / "simulated").exists():
        folders.append(plan.directory / "simulated")
    return Task(
        member.name, argv, log, tuple(folders), clock_env(folder) if (folder / CLOCK_FILE).exists() else {},
        linked=True, memory_mib=member.group.memory_mib, cpus=member.group.cpus, release=release,
        engine=member.group.engine == "torch",
    )


def client_task(plan: RunPlan, member: Member) -> Task:
    """How a client is started: in its own folder, with the account that the genesis file gives money."""
    folder = plan.folder(member.name)
    return Task(member.name, ("testnet.runs.asking", str(folder)), folder / "log.txt", (folder,), linked=True)


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
