"""What a packet meets between two members: the manifest's links, and what perturbations put over them.

Law: pure data and lookups; the worst of what is laid over a link counts, delays add up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testnet.manifest.model import Link


@dataclass(frozen=True, slots=True)
class Way:
    """From one member to another. Delays are one way, in seconds."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0  # share of packets
    bytes_a_second: float | None = None

    def over(self, other: Way) -> Way:
        """Both at once."""
        rates = [rate for rate in (self.bytes_a_second, other.bytes_a_second) if rate is not None]
        return Way(
            self.latency_s + other.latency_s, self.jitter_s + other.jitter_s,
            1.0 - (1.0 - self.loss) * (1.0 - other.loss), min(rates, default=None),
        )


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a perturbation lays over all ways between two sets of addresses, in both directions."""

    addresses: frozenset[str]
    against: frozenset[str]  # empty: everybody else
    way: Way

    def covers(self, source: str, target: str) -> bool:
        return self._from(source, target) or self._from(target, source)

    def _from(self, source: str, target: str) -> bool:
        return source in self.addresses and (target in self.against if self.against else target not in self.addresses)


def way_of(latency_ms: float, jitter_ms: float, loss_percent: float, mbit: float | None) -> Way:
    return Way(latency_ms / 1e3, jitter_ms / 1e3, loss_percent / 100, mbit * 125_000 if mbit is not None else None)


class Ways:
    """The way between any two addresses; looked up once, until the overlays change."""

    def __init__(self, links: Sequence[Link], regions: Mapping[str, str]) -> None:
        """regions: address -> region; an address without one is at no distance from anybody."""
        self._regions = regions
        self._links = {
            frozenset(link.between): way_of(link.latency_ms, link.jitter_ms, link.loss_percent, link.mbit)
            for link in links
        }
        self._overlays: tuple[Overlay, ...] = ()
        self._known: dict[tuple[str, str], Way] = {}

    def lay(self, overlays: Collection[Overlay]) -> None:
        """Replace all overlays."""
        self._overlays = tuple(overlays)
        self._known.clear()

    def between(self, source: str, target: str) -> Way:
        found = self._known.get((source, target))
        if found is None:
            found = self._links.get(frozenset((self._regions.get(source, ""), self._regions.get(target, ""))), Way())
            for overlay in self._overlays:
                if overlay.covers(source, target):
                    found = found.over(overlay.way)
            self._known[source, target] = found
        return found


def overlay_to_json(overlay: Overlay) -> dict[str, Any]:
    way = overlay.way
    return {
        "addresses": sorted(overlay.addresses), "against": sorted(overlay.against),
        "way": [way.latency_s, way.jitter_s, way.loss, way.bytes_a_second],
    }


def overlay_from_json(table: Mapping[str, Any]) -> Overlay:
    return Overlay(frozenset(table["addresses"]), frozenset(table["against"]), Way(*table["way"]))
