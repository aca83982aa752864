"""Networks of real peers in the namespaces of a fabric: some with public addresses, some behind NAT routers.

Law: like net_lab, and nothing of it stays: processes, namespaces, rules.

`python -m tests.nat_lab ADDRESS FOLDER NODE` asks the peer at ADDRESS one question whose draw puts NODE first. It runs
in a client's namespace; the test itself is in none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.base.genesis import load_genesis
from p2p.base.toml_file import dump_toml
from p2p.client.ask import ask
from p2p.client.events import Accepted, Done
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.fabric.commands import inside
from testnet.fabric.fabric import Fabric
from testnet.generate import Plan, generate
from testnet.manifest.members import Member, members
from testnet.manifest.reading import parse
from testnet.processes import fresh_directory, launch, start, stop, wait_until
from testnet.state_file import alive, read_state
from tests import warm
from tests.net_lab import Net, until
from tests.verification import toy

LISTEN = "/ip4/0.0.0.0/tcp/7470"


MACHINES = """
name = "nat"
about = "Machines on the internet, and machines behind NAT."
seconds = 1
[[peers]]
name = "public"
role = "validator"
count = {public}
[[peers]]
name = "hidden"
role = "validator"
count = {natted}
nat = true
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A namespace that a peer or a user can be in."""

    namespace: str
    address: str  # its own: private behind NAT
    seen_as: str  # where others see it come from

    def inside(self, *argv: str) -> list[str]:
        """`python -m ARGV` in it."""
        return inside(self.namespace, sys.executable, "-m", *argv)


@dataclass(frozen=True, slots=True)
class Machines:
    """Those of one fabric."""

    public: list[Machine]
    natted: list[Machine]


@contextmanager
def machines(public: int, natted: int) -> Iterator[Machines]:
    """A fabric for the length of a block."""
    everybody = members(parse(MACHINES.format(public=public, natted=natted)))
    fabric = Fabric(f"nat{os.getpid()}", everybody, (), 1, emulated=False)

    def machine(member: Member) -> Machine:
        fabric.add(member.name)
        return Machine(fabric.namespace(member.name), member.own_address, member.address)

    try:
        fabric.open()
        yield Machines(
            [machine(member) for member in everybody if not member.group.nat],
            [machine(member) for member in everybody if member.group.nat],
        )
    finally:
        fabric.close()


class NatNet(Net):
    """A bootstrap seed on the first public machine, then peers: the other public ones, and `hidden` ones behind NAT.

    More machines behind NAT are for newcomers and clients. rules: as in Plan.
    """

    def __init__(
        self, directory: Path, machines: Machines, hidden: int, settings: dict[str, Any], **rules: Any
    ) -> None:
        fresh_directory(directory)
        self.directory, self.machines = directory, machines
        engine = directory / "ml.sock"
        start("ml", ["testnet.simulated_engine", "--uds", str(engine)], directory / "log" / "ml.log", directory)
        self.engine_url = f"unix:{engine}"
        self.where = machines.public[1:] + machines.natted[:hidden]
        self.spare = machines.natted[hidden:]
        self.settings = {**toy.files(), "listen": [LISTEN], **settings}
        self.folders = generate(Plan(directory, len(self.where), settings=tuple(self.settings.items()), **rules))
        self.urls = {folder.name: self.engine_url for folder in self.folders}
        until(engine.exists)
        self.bootstrap = self._start_seed(machines.public[0])
        for number in range(len(self.folders)):
            self.start(number)
        for number in range(len(self.folders)):
            self.wait(number, lambda s: s["state"] == "ready", "ready")

    def _start_seed(self, machine: Machine) -> str:
        log, network = self.directory / "log" / "seed.log", self.genesis.network
        words = ["--listen", LISTEN, "--key", str(self.directory / "seed.key"), "--network", network]
        launch("seed", machine.inside("bootstrap.seed", *words), log, self.directory)
        return str(until(lambda: [line.split()[1] for line in log.read_text().splitlines() if "ready " in line])[0])

    def start(self, number: int) -> None:
        folder = self.folders[number]
        words = ("--dir", str(folder), "--bootstrap", self.bootstrap, "--ml-node", self.engine_url)
        command = self.where[number].inside("p2p", "serve", *words)
        launch(folder.name, command, folder / "log" / "peer.log", self.directory)

    def wait(self, number: int, good: Any, what: str) -> dict[str, Any]:
        return wait_until(self.directory, self.folders[number], good, what)

    def newcomer(self, machine: Machine) -> dict[str, Any]:
        """init, copy the genesis, serve: on `machine`. Returns what init printed."""
        folder = self.directory / "newcomer"
        made = self.folkmoot(machine, "init", str(folder), "--network", "testnet", "--listen", LISTEN)
        (folder / "genesis.cbor").write_bytes((self.folders[0] / "genesis.cbor").read_bytes())
        own = {name: value for name, value in self.settings.items() if name != "listen"}
        with (folder / "config.toml").open("a") as config:
            config.write(dump_toml(own))
        self.folders.append(folder)
        self.where.append(machine)
        self.start(len(self.folders) - 1)
        self.wait(len(self.folders) - 1, lambda s: s["state"] == "ready", "ready")
        return made

    def folkmoot(self, machine: Machine, *words: str) -> dict[str, Any]:
        """A command that a user types on `machine`."""
        done = warm.run(machine.inside("p2p", *words, "--json"), 300)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def ask_first(self, machine: Machine, number: int, of: str) -> dict[str, Any]:
        """From `machine`, ask the peer at address `of` until a draw puts peer `number` first and it answers: a busy one
        may decline. Returns the receipt's executor, inference and problems."""
        words = [of, str(self.directory / "client"), self.node(number)]
        for _ in range(10):
            done = warm.run(machine.inside("tests.nat_lab", *words), 300)
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            if found["first"] == found["executor"] == self.node(number):
                return dict(found)
        raise AssertionError("ten draws chose other peers, or it declined ten times")

    def stop_peer(self, name: str) -> None:
        stop(self.directory, [name])

    def close(self) -> None:
        entries = read_state(self.directory)["processes"]
        stop(self.directory)
        assert not any(map(alive, entries.values())), "a process is still running"

    def reach(self, number: int) -> dict[str, Any]:
        return dict(call(self.folders[number], {"op": "status"})["reach"])

    def peer_id(self, number: int) -> str:
        return str(call(self.folders[number], {"op": "status"})["peer_id"])

    def connected(self, number: int) -> set[str]:
        return {row["peer_id"] for row in call(self.folders[number], {"op": "peers"})["peers"]}


async def _ask(address: str, folder: Path, node: str) -> dict[str, Any]:
    to, payer = Endpoint(address, load_genesis(folder / "genesis.cbor")), Payer.load(folder)
    question, found = Question(DEFAULT_MODEL, one_message("hello"), max_tokens=12), dict[str, Any]()
    async with aclosing(ask(to, question, payer, Overrides(choose_executor=bytes.fromhex(node)))) as events:
        async for event in events:
            if isinstance(event, Accepted):
                found["first"] = event.candidates[0].hex()
            elif isinstance(event, Done):
                receipt = event.receipt
                found |= {"executor": receipt.executor.hex(), "problems": list(receipt.problems)}
                found["id"] = receipt.inference_id.hex()
    return found


if __name__ == "__main__":
    print(json.dumps(trio.run(_ask, sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
