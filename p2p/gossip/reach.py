"""Which addresses may be dialled, and how names become addresses. Law: an address that another peer named is dialled only if that peer could
know it: nobody sends us into our own machine or our private network from outside.

Rule REACH-1: hearsay names no host names, and no address that is unspecified, multicast, link-local or reserved. REACH-2: a public address is
taken from everybody; one of this machine or of a private network only from a peer that is connected over this machine, or over the same
private network. What comes from nobody in particular (the DHT) is followed there only where all our connections are: those over this machine
aside, for a private network. REACH-3: what the user typed (--bootstrap, --peer, our own address book) is dialled whatever it is.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import trio

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.limits import MAX_ADDRESSES_PER_PEER, RESOLVE_TIMEOUT_S

PUBLIC, HERE, NOWHERE = "public", "this machine", ""
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
_TCP = re.compile(r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[0-9a-zA-Z.:-]{1,120})/tcp/(?P<port>\d{1,5})\Z")
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


def scope_of(host: str) -> str:
    """PUBLIC, HERE, the private network's name, or NOWHERE for what nobody dials."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return NOWHERE
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return HERE
    if address.is_multicast or address.is_reserved:  # link-local and the like are not global: below
        return NOWHERE
    for network in _PRIVATE:
        if address.version == network.version and address in network:
            return str(network)
    return PUBLIC if address.is_global else NOWHERE


def scope_at(address: str) -> str:
    """The scope of a TCP address; NOWHERE for a name."""
    found = _TCP.match(address)
    return scope_of(found["host"]) if found else NOWHERE


def may_name(address: str, source: str | None) -> bool:
    """REACH-1, REACH-2: whether a peer that is connected from or at host `source` may name `address` (without /p2p/ID)."""
    found = _TCP.match(address)
    if found is None:
        return False
    scope, near = scope_of(found["host"]), scope_of(source or "")
    if scope == PUBLIC:
        return True
    return scope != NOWHERE and near in (scope, HERE)


def all_near(scope: str, near: frozenset[str]) -> bool:
    """REACH-2, where nobody in particular named an address of `scope`. near: the scopes of all connections."""
    return scope == PUBLIC or (scope != NOWHERE and frozenset({scope}) in (near, near - {HERE}))


class DialPolicy:
    """What the library dials of itself: its DHT follows what other peers answer. meant: hosts that discovery dials on purpose just now.
    near: over which kinds of network we are connected."""

    def __init__(self) -> None:
        self._meant: Counter[str] = Counter()
        self.near: frozenset[str] = frozenset()

    @contextmanager
    def meaning(self, addresses: Iterable[str]) -> Iterator[None]:
        hosts = [found["host"] for address in addresses if (found := _TCP.match(address))]
        self._meant.update(hosts)
        try:
            yield
        finally:
            self._meant.subtract(hosts)
            self._meant += Counter()

    async def checked(self, address: Any) -> Any:
        """`address` if it may be dialled. Raises ConnectionRefusedError."""
        found = _TCP.match(str(address).partition("/p2p/")[0])
        host = found["host"] if found and not found["kind"].startswith("dns") else ""
        scope = scope_of(host)
        if host not in self._meant and not all_near(scope, self.near):
            raise ConnectionRefusedError(f"{address} is not dialled on another peer's word")
        return address


async def resolve(address: str) -> tuple[str, ...]:
    """`address` itself, or what the system's resolver makes of its name. Raises Unavailable with the resolver's reason."""
    found = _TCP.match(address)
    if found is None or not found["kind"].startswith("dns"):
        return (address,)
    rows: list[Any] = []
    try:
        with trio.fail_after(RESOLVE_TIMEOUT_S):
            rows = await trio.socket.getaddrinfo(found["host"], int(found["port"]), _FAMILIES[found["kind"]], socket.SOCK_STREAM)
    except trio.TooSlowError as error:
        raise Unavailable(f"the name {found['host']} was not resolved in {RESOLVE_TIMEOUT_S:g} s", field="address", code="resolve") from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"the name {found['host']} does not resolve: {error}", field="address", code="resolve") from error
    hosts = dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows)
    return tuple(f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{found['port']}" for host in hosts)[:MAX_ADDRESSES_PER_PEER]


async def listen_addresses(wanted: Iterable[str]) -> tuple[str, ...]:
    """What to bind for --listen: names resolved, each tried once, so that a port in use is said before anything starts. Raises ConfigError."""
    out: dict[str, None] = {}
    for address in wanted:
        found = _TCP.match(address)
        if found is None or int(found["port"]) > 65535:
            raise ConfigError(f"cannot listen on {address!r}: /ip4/ADDRESS/tcp/PORT is wanted (or ip6, dns4, dns6)", field="listen")
        try:
            out.update(dict.fromkeys(await resolve(address)))
        except Unavailable as error:
            raise ConfigError(f"cannot listen on {address!r}: {error.message}", field="listen") from error
    for address in out:
        await _try_to_bind(address)
    return tuple(out)


async def _try_to_bind(address: str) -> None:
    found = _TCP.match(address)
    assert found is not None
    family = socket.AF_INET6 if found["kind"] == "ip6" else socket.AF_INET
    try:
        with trio.socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind((found["host"], int(found["port"])))
            sock.listen(1)
    except OSError as error:
        what = "is in use by another program" if error.errno == 98 else f"cannot be bound: {error.strerror or error}"
        raise ConfigError(f"port {found['port']} of {found['host']} {what}; choose another with --listen", field="listen", code="listen") from error


def dialable(bound: Iterable[str], interfaces: Iterable[str]) -> tuple[str, ...]:
    """Bound addresses as others could dial them: 0.0.0.0 and :: stand for every interface's address of their family."""
    out: dict[str, None] = {}
    interfaces = tuple(interfaces)
    for address in bound:
        if address.startswith(("/ip4/0.0.0.0/", "/ip6/::/")):
            kind = address[1:4]
            rest = address.split("/", 3)[3]
            out.update(dict.fromkeys(f"/{kind}/{host}/{rest}" for host in interfaces if (":" in host) == (kind == "ip6")))
        else:
            out[address] = None
    return tuple(out)


def interface_hosts() -> tuple[str, ...]:
    """Addresses of this machine's interfaces, the one that reaches the internet first, this machine's own last."""
    found: dict[str, None] = {}
    for family, target, here in ((socket.AF_INET, "192.0.2.1", "127.0.0.1"), (socket.AF_INET6, "2001:db8::1", "::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((target, 9))  # sends nothing: the kernel only chooses a route
                found[str(sock.getsockname()[0]).partition("%")[0]] = None
        except OSError:  # no such family, or no route: nothing to add
            continue
        finally:
            found.setdefault(here)
    return tuple(sorted((host for host in found if scope_of(host) != NOWHERE), key=lambda host: scope_of(host) == HERE))
