"""Makes a fabric, changes it, and takes it away. Law: what was made is removed; needs root.

Between members without links nothing is emulated: packets go through the router's kernel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from p2p.base.errors import ConfigError, Unavailable
from testnet.fabric import commands
from testnet.fabric.commands import Command, Cut
from testnet.fabric.links import Overlay, overlay_to_json
from testnet.manifest.members import Member
from testnet.manifest.model import Link

TOOLS = ("ip", "nft", "nsenter", "sysctl")
COMMAND_S = 30.0  # limit for one command
TUN = Path("/dev/net/tun")
NAMESPACES = Path("/run/netns")


@cache
def missing() -> str:
    """Why no fabric can be made here; empty: it can. It tries."""
    if os.geteuid() != 0:
        return "addresses of their own need root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"missing: {', '.join(lacking)} (Debian: iproute2, nftables, util-linux, procps)"
    if not TUN.exists():
        return f"{TUN} is missing"
    run = f"probe{os.getpid()}"
    try:
        execute(commands.make_router(run))
    except Unavailable as error:
        return error.message
    finally:
        remove(run)
    return ""


def execute(made: Sequence[Command], *, check: bool = True) -> None:
    """Run commands one after another. Raises Unavailable with what the first one that fails says."""
    for command in made:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        if check and done.returncode:
            raise Unavailable(f"`{' '.join(command)}` failed: {done.stderr.strip()}", field="fabric")


def leftovers(run: str) -> list[str]:
    """Names of the namespaces of a run that are still there."""
    found = NAMESPACES.iterdir() if NAMESPACES.exists() else iter(())
    return sorted(one.name for one in found if one.name.startswith(f"{commands.PREFIX}{run}-"))


def runs() -> set[str]:
    """Ids of the runs that namespaces are left of."""
    found = NAMESPACES.iterdir() if NAMESPACES.exists() else iter(())
    return {one.name.split("-")[1] for one in found if one.name.startswith(commands.PREFIX)}


def remove(run: str) -> list[str]:
    """Remove what a run has left; returns its names."""
    names = leftovers(run)
    execute(commands.remove(names), check=False)
    return names


class Fabric:
    """The network of one run."""

    def __init__(
        self, run: str, members: Sequence[Member], links: Sequence[Link], seed: int, *, emulated: bool
    ) -> None:
        """emulated: packets pass the emulator, so links and overlays count."""
        if why := missing():
            raise ConfigError(f"this manifest needs addresses of their own: {why}", field="provider")
        self.run, self.emulated = run, emulated
        self._numbers = {member.name: number for number, member in enumerate(members)}
        self._members = {member.name: member for member in members}
        self._first = {
            "links": [msgspec.to_builtins(link) for link in links], "seed": seed,
            "regions": {member.address: member.region for member in members},
        }
        self._emulator: subprocess.Popen[bytes] | None = None
        self.counts: dict[str, int] = {}  # the emulator's, when it has ended

    def open(self) -> None:
        execute(commands.make_router(self.run))
        if self.emulated:
            argv = commands.inside(commands.router_name(self.run), sys.executable, "-m", "testnet.fabric.emulator")
            self._emulator = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._emulator.stdout is not None
            self._say(self._first)
            if self._emulator.stdout.readline() != b"ready\n":
                raise Unavailable("the emulator of links did not start; is /dev/net/tun there?", field="fabric")
            execute(commands.route_through_device(self.run))

    def _say(self, value: object) -> None:
        assert self._emulator is not None
        assert self._emulator.stdin is not None
        self._emulator.stdin.write(json.dumps(value).encode() + b"\n")
        self._emulator.stdin.flush()

    def namespace(self, name: str) -> str:
        return commands.member_name(self.run, self._numbers[name])

    def add(self, name: str, pid: int | None = None) -> None:
        """Give a member its cable and address. pid: a process of it, where it has a namespace already."""
        number, member = self._numbers[name], self._members[name]
        if pid is None:
            execute(commands.make_namespace(self.run, number))
        if not member.group.nat:
            execute(commands.lay_cable(self.run, number, member.address, delayed=self.emulated, pid=pid))
            return
        if not (NAMESPACES / commands.nat_name(self.run, number)).exists():
            execute(commands.make_nat_router(self.run, number, member.address, delayed=self.emulated))
        execute(commands.lay_inner_cable(self.run, number, member.own_address, pid=pid))

    def drop(self, name: str) -> None:
        """Take the cable of a member away whose namespace ends with it. Behind NAT it takes its cable with it."""
        if self._members[name].group.nat:
            return
        execute(commands.remove_cable(self.run, self._numbers[name]), check=False)

    def cut(self, cuts: Collection[Cut]) -> None:
        """Let these packets be dropped and no others."""
        execute(commands.cut(self.run, cuts))

    def lay(self, overlays: Collection[Overlay]) -> None:
        """Let these lie over the links and no others."""
        self._say([overlay_to_json(overlay) for overlay in overlays])

    def close(self) -> None:
        if self._emulator is not None:
            with suppress(BrokenPipeError, OSError):
                out, _ = self._emulator.communicate(timeout=COMMAND_S)
                self.counts = json.loads(out.splitlines()[-1]) if out.strip() else {}
            self._emulator.kill()
            self._emulator.wait()
            self._emulator = None
        remove(self.run)
