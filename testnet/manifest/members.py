"""The single peers, clients and bootstrap peers of a manifest, with the address that each has where links are made.

Law: pure; the same manifest gives the same members in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

from testnet.manifest.model import Manifest, Peers

PORT = 7470
FIRST_NET = 64  # 10.64.0.0/16 is of members without a region, 10.65.0.0/16 of the first region, ...
HOME = ""  # the region of those that name none


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the network."""

    name: str
    group: Peers
    address: str  # IPv4 inside the fabric: its own, or its router's where it is behind NAT

    @property
    def role(self) -> str:
        return self.group.role

    @property
    def region(self) -> str:
        return self.group.region

    @property
    def own_address(self) -> str:
        """What it can bind: behind NAT a private address."""
        return f"192.168.{self.address.split('.')[2]}.2" if self.group.nat else self.address

    @property
    def is_peer(self) -> bool:
        """Whether it runs `folkmoot serve`: a bootstrap peer and a client do not."""
        return self.role in ("validator", "host", "agent")

    @property
    def is_registered(self) -> bool:
        """Whether the genesis file has it."""
        return self.is_peer and self.group.registered


def region_number(manifest: Manifest, region: str) -> int:
    """0 for those without a region, then in the order of `regions`."""
    return 0 if region == HOME else manifest.regions.index(region) + 1


def members(manifest: Manifest) -> tuple[Member, ...]:
    """In the order of the file, bootstrap peers first, clients last: the order in which they start."""
    order = {"bootstrap": 0, "client": 2}
    groups = sorted(manifest.peers, key=lambda group: order.get(group.role, 1))
    found: list[Member] = []
    for group in groups:
        for number in range(1, group.count + 1):
            name = f"{group.name}{number}"
            # a /24 each: peers limit what one network may take of them
            address = f"10.{FIRST_NET + region_number(manifest, group.region)}.{len(found) + 1}.2"
            found.append(Member(name, group, address))
    return tuple(found)
