"""Network namespaces of a test network: an internet of public machines, and machines behind NAT routers.

Law: `commands` is pure and says all that is done; what was made is always removed, also what a crashed run left.

One namespace is the internet, with a bridge. Each public machine has a namespace with an address of its own on it, in
a /16 of its own. Each machine behind NAT has a private address and a router between it and the bridge; the router
masquerades what goes out and drops whatever was not asked for from within. Names begin with PREFIX and the process id
of the maker, so a run whose process is gone can be told from one that runs. Needs root, `ip` and `nft`.

`python -m testnet.namespaces NAMESPACE MODULE ...` runs a module in one; `processes.start_peer` takes that as command.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from p2p.base.errors import ConfigError

PREFIX = "fmns"
BRIDGE = "br0"
MOST = 99  # machines of a kind: their numbers are parts of addresses
_NAME = re.compile(rf"{PREFIX}(\d+)-[a-z]+\d*\Z")
_COMMAND_S = 20.0
_RULES = """
table inet nat_router {
  chain leaving { type nat hook postrouting priority srcnat; policy accept; oifname "wan" masquerade; }
  chain through {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" accept
  }
  chain arriving { type filter hook input priority filter; policy drop; ct state established,related accept; }
}
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, and what it reads."""

    argv: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace that a peer can run in."""

    namespace: str
    address: str  # its own: private behind NAT
    seen_as: str  # where others see it come from

    def inside(self, *argv: str) -> list[str]:
        """`python -m ARGV` as a command that runs in this namespace."""
        return _inside(self.namespace, argv)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many machines of each kind."""

    public: int
    natted: int
    maker: int  # process id of the maker

    def __post_init__(self) -> None:
        for kind in ("public", "natted"):
            if not 0 <= getattr(self, kind) <= MOST:
                raise ConfigError(f"0 to {MOST} machines of a kind, not {getattr(self, kind)}", field=kind)

    @property
    def internet(self) -> str:
        return f"{PREFIX}{self.maker}-net"

    def public_machine(self, number: int) -> Machine:
        address = f"11.{number + 1}.0.1"
        return Machine(f"{PREFIX}{self.maker}-pub{number}", address, address)

    def natted_machine(self, number: int) -> Machine:
        own = f"192.168.{number + 1}.2"
        return Machine(f"{PREFIX}{self.maker}-nat{number}", own, f"11.{number + 101}.0.1")

    def router(self, number: int) -> str:
        return f"{PREFIX}{self.maker}-gw{number}"


def commands(plan: Plan) -> Iterator[Command]:
    """All that makes the networks of `plan`, in order."""
    yield from _namespace(plan.internet)
    yield _ip(plan.internet, f"link add {BRIDGE} type bridge")
    yield _ip(plan.internet, f"link set {BRIDGE} up")
    for number in range(plan.public):
        machine = plan.public_machine(number)
        yield from _namespace(machine.namespace)
        yield from _plug(plan, machine.namespace, f"p{number}", "eth0", f"{machine.address}/8")
        yield _ip(machine.namespace, "route add default dev eth0")  # so that it finds which address is its own
    for number in range(plan.natted):
        machine, router = plan.natted_machine(number), plan.router(number)
        yield from _namespace(router)
        yield from _plug(plan, router, f"n{number}", "wan", f"{machine.seen_as}/8")
        yield from _namespace(machine.namespace)
        yield _ip(router, f"link add lan type veth peer name eth0 netns {machine.namespace}")
        gateway = f"192.168.{number + 1}.1"
        yield from _address(router, "lan", f"{gateway}/24")
        yield from _address(machine.namespace, "eth0", f"{machine.address}/24")
        yield _ip(machine.namespace, f"route add default via {gateway}")
        yield _run(router, "sysctl -q -w net.ipv4.ip_forward=1")
        yield _run(router, "nft -f -", _RULES)


def _namespace(name: str) -> Iterator[Command]:
    yield Command(("ip", "netns", "add", name))
    yield _ip(name, "link set lo up")


def _plug(plan: Plan, name: str, port: str, interface: str, address: str) -> Iterator[Command]:
    """A cable from a namespace to the bridge."""
    yield _ip(plan.internet, f"link add {port} type veth peer name {interface} netns {name}")
    yield _ip(plan.internet, f"link set {port} master {BRIDGE} up")
    yield from _address(name, interface, address)


def _address(name: str, interface: str, address: str) -> Iterator[Command]:
    yield _ip(name, f"address add {address} dev {interface}")
    yield _ip(name, f"link set {interface} up")


def _ip(name: str, words: str) -> Command:
    return Command(("ip", "-n", name, *words.split()))


def _run(name: str, words: str, text: str = "") -> Command:
    return Command(("ip", "netns", "exec", name, *words.split()), text)


# -- the shell -------------------------------------------------------------------------------------------------------


def why_not() -> str:
    """Why namespaces cannot be made here; empty: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft", "sysctl") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} missing: apt install iproute2 nftables procps"
    probe = f"{PREFIX}{os.getpid()}-probe"
    try:
        _do(Command(("ip", "netns", "add", probe)))
        _do(_run(probe, "nft -f -", _RULES))
    except ConfigError as error:
        return error.message
    finally:
        _remove([probe])
    return ""


@contextmanager
def made(public: int, natted: int) -> Iterator[Plan]:
    """The networks, for the length of a block. Raises ConfigError where this machine cannot make them."""
    remove_leftovers()
    plan = Plan(public, natted, os.getpid())
    try:
        for command in commands(plan):
            _do(command)
        yield plan
    finally:
        _remove([name for name, maker in _existing() if maker == plan.maker])


def remove_leftovers() -> list[str]:
    """End and remove what runs left whose maker is gone. Returns the names."""
    names = [name for name, maker in _existing() if not Path(f"/proc/{maker}").exists()]
    _remove(names)
    return names


def _existing() -> list[tuple[str, int]]:
    """(name, process id of the maker) of each namespace of ours."""
    folder = Path("/run/netns")
    names = sorted(one.name for one in folder.iterdir()) if folder.exists() else []
    return [(name, int(found[1])) for name in names if (found := _NAME.match(name))]


def _remove(names: Sequence[str]) -> None:
    """What still runs in a namespace is ended first: else the namespace would live on without a name."""
    for name in names:
        listed = subprocess.run(("ip", "netns", "pids", name), capture_output=True, text=True, check=False).stdout
        for pid in listed.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)


def _do(command: Command) -> None:
    """Raises ConfigError with what the command said."""
    try:
        done = subprocess.run(
            command.argv, input=command.text, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{' '.join(command.argv)}: {error}", field="namespaces") from error
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise ConfigError(f"{' '.join(command.argv)}: {said}", field="namespaces")


def _inside(name: str, argv: Sequence[str]) -> list[str]:
    return ["ip", "netns", "exec", name, sys.executable, "-m", *argv]


if __name__ == "__main__":
    command = _inside(sys.argv[1], sys.argv[2:])
    os.execvp(command[0], command)  # the process stays the one that was started, for whoever stops it
