"""The ML nodes of a run: one for each kind of engine, shared by all peers that need it.

Law: pure; each is a task with a Unix socket, which reaches into every namespace and container that mounts its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p2p.lab import attacks
from p2p.peer.config import DEFAULT_MODEL
from testnet.manifest.members import Member
from testnet.providers.provider import Task

SERVERS = ("simulated", "vllm")  # engines that are a process of their own
SIMULATED_SCALE = "0.8"  # a simulated model with other log-probabilities and the same candidates: a cheaper one


@dataclass(frozen=True, slots=True)
class Server:
    """One ML node."""

    engine: str
    attack: str = ""  # whose altered weights or flags it runs; empty: the claimed model

    @property
    def name(self) -> str:
        return f"engine-{self.engine}{'-' if self.attack else ''}{self.attack.replace('_', '-')}"


def server_of(member: Member) -> Server | None:
    """The ML node that a peer uses; None: it has none."""
    group = member.group
    if group.engine not in SERVERS:
        return None
    altered = bool(group.villain) and attacks.get(group.villain).own_engine
    return Server(group.engine, group.villain if altered else "")


def servers(members: Sequence[Member]) -> list[Server]:
    """All that the members need, each once, the claimed model's first: cheats check others' work with it."""
    found = dict.fromkeys(server for member in members if (server := server_of(member)) is not None)
    honest = dict.fromkeys(Server(server.engine) for server in found)
    return list({**honest, **found})


def socket_of(folder: Path, server: Server) -> Path:
    """folder: of all sockets, with a short path."""
    return folder / f"{server.name}.sock"


def task_of(server: Server, folder: Path, logs: Path, model: Path | None, altered: Path | None) -> Task:
    """model: folder of the weights that the network serves, for vLLM. altered: of the attack's, where it has some."""
    socket = str(socket_of(folder, server))
    if server.engine == "simulated":
        scale = ("--scale", SIMULATED_SCALE) if server.attack else ()
        argv = ("testnet.simulated_engine", "--uds", socket, *scale)
        return Task(server.name, argv, logs / f"{server.name}.log", (folder, logs))
    weights = altered or model
    assert weights is not None
    flags = attacks.get(server.attack).vllm_flags if server.attack else ()
    argv = ("p2p.inference.vllm.server", "--model", str(weights), "--name", DEFAULT_MODEL, "--socket", socket,
            "--log", str(logs / f"{server.name}-vllm.log"), *flags)
    return Task(server.name, argv, logs / f"{server.name}.log", (folder, logs, weights), engine=True)
