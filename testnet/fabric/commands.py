"""The commands that make a fabric: a namespace with a router, and a cable to each member.

Law: pure; a command is a list of words for `ip` or `nft`. Deleting the namespaces removes everything.

Each member has a network of its own, 10.REGION.NUMBER.0/24: itself .2, the router .1. The router has no way out of the
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
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
    into = str(pid) if pid is not None else member_name(run, number)
    return _cable(run, number, address, into, _enter(run, number, pid), delayed)


def _enter(run: str, number: int, pid: int | None) -> list[str]:
    """nsenter's words for a member's namespace."""
    return [f"--net=/run/netns/{member_name(run, number)}"] if pid is None else ["--net", "--target", str(pid)]


def _cable(run: str, number: int, address: str, into: str, enter: list[str], delayed: bool) -> list[Command]:
    """From the router to a namespace. into: its name, or a process id in it; enter: nsenter's words for it."""
    router, end, gateway = router_name(run), f"v{number}", f"{address.rsplit('.', 1)[0]}.1"

    def there(*command: str) -> Command:
        return ["nsenter", *enter, *command]

    commands = [
        inside(router, "ip", "link", "add", end, "mtu", str(MTU), "type", "veth", "peer", "name", f"p{number}"),
        inside(router, "ip", "link", "set", f"p{number}", "netns", into),
        inside(router, "ip", "address", "add", f"{gateway}/24", "dev", end),
        inside(router, "ip", "link", "set", end, "up"),
        *_end(there, number, f"{address}/24", gateway),
    ]
    if delayed:
        commands.append(inside(router, "ip", "rule", "add", "iif", end, "lookup", _TABLE))
    return commands


def _end(there: Callable[..., Command], number: int, address: str, gateway: str) -> list[Command]:
    """A cable's end becomes eth0 where it has been put."""
    return [
        there("ip", "link", "set", "lo", "up"),
        there("ip", "link", "set", f"p{number}", "name", "eth0"),
        there("ip", "address", "add", address, "dev", "eth0"),
        there("ip", "link", "set", "eth0", "mtu", str(MTU), "up"),
        there("ip", "route", "add", "default", "via", gateway),
    ]


_NAT = (
    "add table inet nat; add chain inet nat out { type nat hook postrouting priority srcnat ; }; "
    "add rule inet nat out oifname eth0 masquerade; "
    "add chain inet nat through { type filter hook forward priority filter ; policy drop ; }; "
    "add rule inet nat through ct state established,related accept; add rule inet nat through iifname lan accept; "
    "add chain inet nat into { type filter hook input priority filter ; policy drop ; }; "
    "add rule inet nat into ct state established,related accept"
)


def nat_name(run: str, number: int) -> str:
    return f"{member_name(run, number)}-nat"


def make_nat_router(run: str, number: int, address: str, *, delayed: bool) -> list[Command]:
    """A router of the member's own, with its address in the fabric: what goes out is masqueraded, and what was not
    asked for from within is dropped."""
    name = nat_name(run, number)
    return [
        ["ip", "netns", "add", name], *_cable(run, number, address, name, [f"--net=/run/netns/{name}"], delayed),
        inside(name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"), inside(name, "nft", _NAT),
    ]


def lay_inner_cable(run: str, number: int, own_address: str, *, pid: int | None = None) -> list[Command]:
    """From a member behind NAT to its router."""
    name, gateway = nat_name(run, number), f"{own_address.rsplit('.', 1)[0]}.1"
    into = str(pid) if pid is not None else member_name(run, number)

    def there(*command: str) -> Command:
        return ["nsenter", *_enter(run, number, pid), *command]

    return [
        inside(name, "ip", "link", "add", "lan", "mtu", str(MTU), "type", "veth", "peer", "name", f"p{number}"),
        inside(name, "ip", "link", "set", f"p{number}", "netns", into),
        inside(name, "ip", "address", "add", f"{gateway}/24", "dev", "lan"),
        inside(name, "ip", "link", "set", "lan", "up"),
        *_end(there, number, f"{own_address}/24", gateway),
    ]


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
