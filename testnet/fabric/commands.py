"""The commands that make a fabric: a namespace with a router, and a cable to each member.

Law: pure; a command is a list of words for `ip` or `nft`. Deleting the namespaces removes everything.

Each member has a network of its own, 10.REGION.NUMBER.0/24: itself .2, the router .1. The router has no way out of the
machine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from testnet.fabric.emulator import DEVICE, MTU

PREFIX = "fm-"  # of every namespace of ours
_TABLE = "77"  # routes of packets that come from a member and have not been delayed yet
Command = list[str]


@dataclass(frozen=True, slots=True)
class Cut:
    """Packets that are dropped: from each source to each target."""

    sources: frozenset[str]
    targets: frozenset[str]


def router_name(run: str) -> str:
    return f"{PREFIX}{run}-router"


def member_name(run: str, number: int) -> str:
    return f"{PREFIX}{run}-{number}"


def inside(namespace: str, *command: str) -> Command:
    return ["nsenter", f"--net=/run/netns/{namespace}", *command]


def make_router(run: str) -> list[Command]:
    name = router_name(run)
    return [
        ["ip", "netns", "add", name],
        inside(name, "ip", "link", "set", "lo", "up"),
        inside(name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
               "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.send_redirects=0"),
        inside(name, "nft", "add table ip fabric; add chain ip fabric cuts "
                            "{ type filter hook forward priority 0 ; policy accept ; }"),
    ]


def route_through_device(run: str) -> list[Command]:
    """After the emulator has opened its device: whatever comes from a member goes there first."""
    name = router_name(run)
    return [
        inside(name, "ip", "link", "set", DEVICE, "mtu", str(MTU), "up"),
        inside(name, "ip", "route", "add", "default", "dev", DEVICE, "table", _TABLE),
    ]


def make_namespace(run: str, number: int) -> list[Command]:
    """A namespace for a member that has none of its own."""
    return [["ip", "netns", "add", member_name(run, number)]]


def lay_cable(run: str, number: int, address: str, *, delayed: bool, pid: int | None = None) -> list[Command]:
    """From the router to a member. pid: of a process in the member's namespace; None: the namespace that we made.
    delayed: its packets go through the emulator."""
    router, end, gateway = router_name(run), f"v{number}", f"{address.rsplit('.', 1)[0]}.1"
    into = str(pid) if pid is not None else member_name(run, number)

    def there(*command: str) -> Command:
        if pid is None:
            return inside(into, *command)
        return ["nsenter", "--net", "--target", str(pid), *command]

    commands = [
        inside(router, "ip", "link", "add", end, "mtu", str(MTU), "type", "veth", "peer", "name", f"p{number}"),
        inside(router, "ip", "link", "set", f"p{number}", "netns", into),
        inside(router, "ip", "address", "add", f"{gateway}/24", "dev", end),
        inside(router, "ip", "link", "set", end, "up"),
        there("ip", "link", "set", "lo", "up"),
        there("ip", "link", "set", f"p{number}", "name", "eth0"),
        there("ip", "address", "add", f"{address}/24", "dev", "eth0"),
        there("ip", "link", "set", "eth0", "mtu", str(MTU), "up"),
        there("ip", "route", "add", "default", "via", gateway),
    ]
    if delayed:
        commands.append(inside(router, "ip", "rule", "add", "iif", end, "lookup", _TABLE))
    return commands


def remove_cable(run: str, number: int) -> list[Command]:
    """Of a member whose namespace may be gone: a container that was killed takes its end with it."""
    return [inside(router_name(run), "ip", "link", "delete", f"v{number}")]


def cut(run: str, cuts: Collection[Cut]) -> list[Command]:
    """Replace all cuts."""
    rules = ["flush chain ip fabric cuts"]
    for one in cuts:
        sources, targets = ", ".join(sorted(one.sources)), ", ".join(sorted(one.targets))
        rules.append(f"add rule ip fabric cuts ip saddr {{ {sources} }} ip daddr {{ {targets} }} drop")
    return [inside(router_name(run), "nft", "; ".join(rules))]


def remove(names: Collection[str]) -> list[Command]:
    return [["ip", "netns", "delete", name] for name in names]
