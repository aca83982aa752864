"""Says which addresses may be dialled, resolves names, and finds the addresses to bind and to announce.

Law: an address that another peer named is dialled only if that peer can know it, so nobody outside can make us dial
into our own machine or our private network.

- REACH-1: another peer may not name host names, nor unspecified, multicast, link-local or reserved addresses.
- REACH-2: any peer may name a public address. An address of this machine or of a private network may be named only by a
  peer that is connected over this machine, or over the same private network. The DHT's addresses come from nobody in
  particular: one of a private network is dialled only while all connections, apart from those over this machine, are in
  that network; one of this machine only while all connections are over this machine.
  Of an address that leads through a relay, all of this holds for the relay's own.
- REACH-3: what the user named (--bootstrap, --peer, our own address book) is dialled, whatever it is.
"""

from __future__ import annotations

import errno
import logging
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import trio

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.limits import MAX_ADDRESSES_PER_PEER, RESOLVE_TIMEOUT_S
from p2p.gossip.connections.failures import NOT_ON_ITS_WORD
from p2p.machine.deadlines import fail_after

log = logging.getLogger(__name__)
# Scopes of an address; a private network's scope is its own text, such as "10.0.0.0/8".
PUBLIC, HERE, NOWHERE = "public", "this machine", ""
_MAX_PORT = 65535
_DISCARD_PORT = 9  # RFC 863; nothing is sent to it
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
_TCP = re.compile(r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[0-9a-zA-Z.:-]{1,120})/tcp/(?P<port>\d{1,5})\Z")
_CIRCUIT = re.compile(r"(?P<at>/.+)/p2p/(?P<relay>[1-9A-HJ-NP-Za-km-z]{20,80})/p2p-circuit\Z")
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


@lru_cache(maxsize=1024)  # asked for every connection twice a second
def scope_of(host: str) -> str:
    """The scope of an IP address: PUBLIC, HERE, a private network, or NOWHERE for one that nobody dials."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return NOWHERE
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return HERE
    if address.is_multicast or address.is_reserved:  # link-local and the like are not global, see the last line
        return NOWHERE
    for network in _PRIVATE:
        if address.version == network.version and address in network:
            return str(network)
    return PUBLIC if address.is_global else NOWHERE


def relay_in(address: str) -> tuple[str, str] | None:
    """(relay, the relay's own address) of an address without its last /p2p/ID; None for one that leads through none."""
    found = _CIRCUIT.match(address)
    return (found["relay"], found["at"]) if found else None


def _first_hop(address: str) -> re.Match[str] | None:
    through = relay_in(address)
    return _TCP.match(through[1] if through else address)


def family_and_port(address: str) -> tuple[bool, int]:
    """(whether it is IPv6, its port) of a bound multiaddr; port 0 for what is none."""
    found = _TCP.match(address.partition("/p2p/")[0])
    return (found["kind"] == "ip6", int(found["port"])) if found else (False, 0)


def scope_at(address: str) -> str:
    """The scope of a TCP multiaddr; NOWHERE for one with a name."""
    found = _first_hop(address)
    return scope_of(found["host"]) if found else NOWHERE


def may_name(address: str, source: str | None) -> bool:
    """REACH-1, REACH-2: whether a peer whose connection's other end is host `source` may name `address` (without
    /p2p/ID)."""
    found = _first_hop(address)
    if found is None:
        return False
    scope, near = scope_of(found["host"]), scope_of(source or "")
    if scope == PUBLIC:
        return True
    return scope != NOWHERE and near in (scope, HERE)


def all_near(scope: str, near: frozenset[str]) -> bool:
    """REACH-2 for an address of `scope` from the DHT. near: the scopes of all connections."""
    return scope == PUBLIC or (scope != NOWHERE and frozenset({scope}) in (near, near - {HERE}))


class DialPolicy:
    """Decides which of the library's dials are allowed: its DHT client dials what other peers answer."""

    def __init__(self) -> None:
        self._meant: Counter[str] = Counter()  # hosts that discovery dials on purpose at this moment
        self.near: frozenset[str] = frozenset()  # the scopes of all connections

    @contextmanager
    def meaning(self, addresses: Iterable[str]) -> Iterator[None]:
        """Allow `addresses` for the length of a block (REACH-3)."""
        hosts = [found["host"] for address in addresses if (found := _TCP.match(address))]
        self._meant.update(hosts)
        try:
            yield
        finally:
            self._meant.subtract(hosts)
            self._meant += Counter()

    async def checked(self, address: Any) -> Any:
        """`address` if it may be dialled, else raises ConnectionRefusedError."""
        found = _TCP.match(str(address).partition("/p2p/")[0])
        host = found["host"] if found and not found["kind"].startswith("dns") else ""
        scope = scope_of(host)
        if host not in self._meant and not all_near(scope, self.near):
            raise ConnectionRefusedError(f"{address} {NOT_ON_ITS_WORD}")
        return address


async def resolve(address: str) -> tuple[str, ...]:
    """`address`, or for one with a name the addresses that the system's resolver finds, at most
    MAX_ADDRESSES_PER_PEER. Raises Unavailable with the resolver's reason."""
    found = _TCP.match(address)
    if found is None or not found["kind"].startswith("dns"):
        return (address,)
    rows: list[Any] = []
    name, port, family = found["host"], found["port"], _FAMILIES[found["kind"]]
    try:
        with fail_after(RESOLVE_TIMEOUT_S):
            rows = await trio.socket.getaddrinfo(name, int(port), family, socket.SOCK_STREAM)
    except trio.TooSlowError as error:
        raise Unavailable(
            f"the name {name} was not resolved in {RESOLVE_TIMEOUT_S:g} s", field="address", code="resolve",
        ) from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"the name {name} does not resolve: {error}", field="address", code="resolve") from error
    hosts = list(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))[:MAX_ADDRESSES_PER_PEER]
    return tuple(f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}" for host in hosts)


async def listen_addresses(wanted: Iterable[str]) -> tuple[str, ...]:
    """The addresses to bind for --listen, with names resolved. Each is bound once as a test, so that a port in use is
    reported before anything starts. Raises ConfigError."""
    out: dict[str, None] = {}
    for address in wanted:
        found = _TCP.match(address)
        if found is None or int(found["port"]) > _MAX_PORT:
            raise ConfigError(
                f"cannot listen on {address!r}: give /ip4/ADDRESS/tcp/PORT (or ip6, dns4, dns6 in place of ip4)",
                field="listen",
            )
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
        in_use = error.errno == errno.EADDRINUSE
        what = "is in use by another program" if in_use else f"cannot be bound: {error.strerror or error}"
        raise ConfigError(
            f"port {found['port']} of {found['host']} {what}; choose another with --listen",
            field="listen", code="listen",
        ) from error


def texts(addresses: Iterable[Any]) -> tuple[str, ...]:
    """Multiaddrs as text, without those that cannot be read: other peers put any bytes into the library's tables."""
    out = []
    for address in addresses:
        try:
            out.append(str(address))
        except Exception as error:  # multiaddr raises its own types, and those of its codecs
            log.debug("an address that cannot be read: %r", error)
    return tuple(out)


def dialable(bound: Iterable[str], interfaces: Iterable[str]) -> tuple[str, ...]:
    """Bound addresses as others can dial them: 0.0.0.0 and :: are replaced by the interfaces' addresses of their
    family."""
    out: dict[str, None] = {}
    interfaces = tuple(interfaces)
    for address in bound:
        if address.startswith(("/ip4/0.0.0.0/", "/ip6/::/")):
            kind = address[1:4]
            rest = address.split("/", 3)[3]
            hosts = [host for host in interfaces if (":" in host) == (kind == "ip6")]
            out.update(dict.fromkeys(f"/{kind}/{host}/{rest}" for host in hosts))
        else:
            out[address] = None
    return tuple(out)


def interface_hosts() -> tuple[str, ...]:
    """Addresses of this machine's interfaces: first those that reach the internet, last 127.0.0.1 and ::1."""
    found: dict[str, None] = {}
    families = ((socket.AF_INET, "192.0.2.1", "127.0.0.1"), (socket.AF_INET6, "2001:db8::1", "::1"))
    for family, target, here in families:  # targets: documentation addresses, RFC 5737 and RFC 3849
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((target, _DISCARD_PORT))  # sends nothing: the kernel only chooses a route
                found[str(sock.getsockname()[0]).partition("%")[0]] = None
        except OSError:  # no such family, or no route
            continue
        finally:
            found.setdefault(here)
    usable = [host for host in found if scope_of(host) != NOWHERE]
    return tuple(sorted(usable, key=lambda host: scope_of(host) == HERE))
