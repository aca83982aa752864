"""What compose files and Kubernetes manifests have in common: the folders of a network whose peers know each other by
name, and the command of each.

Law: everything that is written works on any machine; no path of this one is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.peer.config import DEFAULT_MODEL
from testnet.manifest.members import PORT, Member, members
from testnet.manifest.model import Manifest
from testnet.processes import HONEST, LAB, fresh_directory
from testnet.runs.asking import TARGET
from testnet.runs.engines import Server, server_of, servers, socket_of
from testnet.runs.plan import RunPlan, write

DATA, ENGINES, MODEL, SIMULATED = "/data", Path("/engines"), "/model", "/simulated"
PEER_IMAGE, ENGINE_IMAGE = "folkmoot:latest", "folkmoot-engine:latest"


@dataclass(frozen=True, slots=True)
class Part:
    """One container."""

    name: str
    image: str
    command: list[str]
    folder: str  # of the network's directory that it has under /data; empty: none
    needs: tuple[str, ...] = ()  # of ENGINES, MODEL and SIMULATED
    port: int | None = None


@dataclass(slots=True)
class Export:
    plan: RunPlan

    def parts(self) -> list[Part]:
        """Bootstrap peer, peers, clients."""
        return [self._part(member) for member in self.plan.members]

    def engines(self) -> list[Part]:
        return [self.engine(server) for server in servers(self.plan.members)]

    def engine(self, server: Server) -> Part:
        socket = str(socket_of(ENGINES, server))
        if server.engine == "simulated":
            scale = ["--scale", "0.8"] if server.attack else []
            words = ["python3", "-m", "testnet.simulated_engine", "--uds", socket, *scale]
            return Part(server.name, PEER_IMAGE, words, "", (str(ENGINES),))
        if server.attack:
            raise ConfigError(f"{server.attack} needs weights that only a run on this machine makes", field="villain")
        words = ["python3", "-m", "p2p.inference.vllm.server", "--model", MODEL, "--name", DEFAULT_MODEL,
                 "--socket", socket]
        return Part(server.name, ENGINE_IMAGE, words, "", (str(ENGINES), MODEL))

    def _part(self, member: Member) -> Part:
        if member.role == "client":
            return Part(member.name, PEER_IMAGE, ["python3", "-m", "testnet.runs.asking", DATA], member.name)
        if member.role == "bootstrap":
            words = ["python3", "-m", "bootstrap.seed", "--listen", self.plan.listen(member), "--key",
                     f"{DATA}/node.key", "--network", str(self.plan.genesis.network)]
            return Part(member.name, PEER_IMAGE, words, member.name, port=PORT)
        cheats = (self.plan.folder(member.name) / "lab.toml").exists()
        words = ["python3", "-m", *(LAB if cheats else HONEST), "--dir", DATA]
        first, server = self.plan.first(), server_of(member)
        if member.name != first.name:
            words += ["--bootstrap", self.plan.address(first)]
        needs: tuple[str, ...] = ()
        if server is not None:
            words += ["--ml-node", f"unix:{socket_of(ENGINES, server)}"]
            needs = (str(ENGINES), SIMULATED if server.engine == "simulated" else MODEL)
        return Part(member.name, PEER_IMAGE, words, member.name, needs, PORT)


def export(manifest: Manifest, directory: Path, say: Callable[[str], None]) -> Export:
    """Write keys, genesis file and folders for peers that know each other by name. Raises ConfigError for what only a
    run on one machine can do."""
    for group in manifest.peers:
        if group.engine == "torch":
            raise ConfigError(f"{group.name} runs torch in its own process; give it vllm or simulated", field="engine")
    fresh_directory(directory)
    plan = RunPlan(manifest, "export", directory, True, ENGINES, members=members(manifest), by_name=True)
    kinds = {group.engine for group in manifest.peers}
    settings: dict[str, str] = {}
    if "simulated" in kinds:
        from testnet.simulated_calibration import write_files

        (directory / "simulated").mkdir(mode=0o755)
        settings = {name: f"{SIMULATED}/{Path(path).name}" for name, path in
                    write_files(directory / "simulated").items()}
    if "vllm" in kinds:
        from p2p.inference.stack.model import prepare_model

        plan.model = prepare_model(say)
    write(plan, settings, tokenizer=f"{MODEL}/tokenizer.json" if plan.model is not None else None)
    say(f"written: folders of {len(plan.members)} members; {TARGET} says what a client asks")
    return Export(plan)
