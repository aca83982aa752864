"""Rules between the tables of a manifest.

Law: pure; each broken rule is a path into the file and a sentence that says what to change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from testnet.manifest.kinds import KINDS
from testnet.manifest.lines import Path
from testnet.manifest.members import members
from testnet.manifest.model import MAX_PEERS, Manifest, Peers, Perturbation
from testnet.manifest.selectors import matching

Broken = tuple[Path, str]
LINK_KINDS = ("slow-link", "loss")


def broken(manifest: Manifest, villains: frozenset[str]) -> Iterator[Broken]:
    """Every rule that the manifest breaks. villains: names of the attacks that there are."""
    yield from _groups(manifest, villains)
    yield from _regions(manifest)
    if not any(True for _ in _groups(manifest, villains)):
        for number, one in enumerate(manifest.perturbations):
            for path, sentence in _perturbation(manifest, one):
                yield ("perturbations", number, *path), sentence


def _groups(manifest: Manifest, villains: frozenset[str]) -> Iterator[Broken]:
    names = Counter(group.name for group in manifest.peers)
    total = sum(group.count for group in manifest.peers)
    if total > MAX_PEERS:
        yield ("peers",), f"{total} peers and clients in all; at most {MAX_PEERS} run on one machine"
    for number, group in enumerate(manifest.peers):
        for key, sentence in _group(manifest, group, villains):
            yield ("peers", number, key), sentence
        if names[group.name] > 1:
            yield ("peers", number, "name"), f"two groups are called {group.name}; a name is one group's"
    peers = [group for group in manifest.peers if group.role in ("validator", "host", "agent")]
    if not any(group.role in ("validator", "host") and group.registered and not group.later for group in peers):
        yield ("peers",), "nobody makes blocks at the beginning; add a group with role = \"validator\" or \"host\""
    if all(group.nat for group in peers if not group.later):
        yield ("peers",), "everybody is behind NAT: nobody could be dialled first"
    clients = any(group.role == "client" for group in manifest.peers)
    if manifest.load is not None and not clients:
        yield ("load",), "nobody asks: add a group with role = \"client\""
    if manifest.load is not None and not any(group.role == "host" for group in manifest.peers):
        yield ("load",), "nobody answers: add a group with role = \"host\" and an engine"
    if manifest.load is None and clients:
        yield ("peers",), "clients without a table [load] have nothing to do"


def _group(manifest: Manifest, group: Peers, villains: frozenset[str]) -> Iterator[tuple[str, str]]:
    if group.role == "host" and group.engine == "none":
        yield "engine", "a host needs an engine: simulated, vllm or torch"
    if group.role in ("agent", "bootstrap", "client") and group.engine != "none":
        yield "engine", f"a {group.role} runs no model; leave the engine out"
    if group.villain and group.villain not in villains:
        yield "villain", f"there is no attack {group.villain}; `folkmoot attack --list` shows them"
    if group.villain and group.engine == "none":
        yield "villain", "a villain needs an engine to cheat with"
    if group.role in ("bootstrap", "client") and (group.settings or group.villain or group.later or group.nat):
        yield "role", f"a {group.role} has no settings, villain, later or nat"
    if group.role == "bootstrap" and group.count > 1:
        yield "count", "peers are told of one bootstrap address; let one peer be it"
    if group.region and group.region not in manifest.regions:
        yield "region", f"{group.region} is not in `regions`"


def _regions(manifest: Manifest) -> Iterator[Broken]:
    if len(set(manifest.regions)) != len(manifest.regions):
        yield ("regions",), "a region stands there twice"
    for number, link in enumerate(manifest.links):
        for region in link.between:
            if region not in manifest.regions:
                yield ("links", number, "between"), f"{region} is not in `regions`"
        if link.jitter_ms > link.latency_ms:
            yield ("links", number, "jitter_ms"), "jitter above the latency would need negative delays"
    pairs = Counter(frozenset(link.between) for link in manifest.links)
    for number, link in enumerate(manifest.links):
        if pairs[frozenset(link.between)] > 1:
            yield ("links", number, "between"), f"{' and '.join(link.between)} have two links; give one"


def _perturbation(manifest: Manifest, one: Perturbation) -> Iterator[Broken]:
    kind = KINDS.get(one.kind)
    if kind is None:
        yield ("kind",), f"there is no {one.kind}; there are {', '.join(KINDS)}"
        return
    if one.at_s >= manifest.seconds:
        yield ("at_s",), f"the load ends after {manifest.seconds:g} s"
    if not kind.lasts and one.for_s is not None:
        yield ("for_s",), f"{one.kind} happens once; leave for_s out"
    if one.for_s is not None and one.at_s + one.for_s > manifest.seconds:
        yield ("for_s",), f"it would end after the load, at {one.at_s + one.for_s:g} s of {manifest.seconds:g}"
    if (kind.whom == "nobody") == bool(one.peers):
        yield ("peers",), f"{one.kind} is done to {'the whole network: leave peers out' if one.peers else 'somebody'}"
    if one.kind == "overload" and one.for_s is None:
        yield ("kind",), "give for_s: an overload that does not end proves nothing"
    if one.kind == "bootstrap-gone" and not any(group.role == "bootstrap" for group in manifest.peers):
        yield ("kind",), "there is no bootstrap peer: add a group with role = \"bootstrap\""
    if one.against and one.kind not in ("partition", "one-way", *LINK_KINDS):
        yield ("against",), f"{one.kind} has no other side"
    if one.kind in LINK_KINDS and not (one.latency_ms or one.loss_percent or one.mbit):
        yield ("kind",), "give latency_ms, loss_percent or mbit"
    if one.jitter_ms > one.latency_ms:
        yield ("jitter_ms",), "jitter above the latency would need negative delays"
    if one.kind == "clock-offset" and not one.offset_ms:
        yield ("offset_ms",), "give the offset, in milliseconds"
    everybody = members(manifest)
    for key, selectors in (("peers", one.peers), ("against", one.against)):
        for selector in selectors:
            try:
                found = matching(selector, everybody)
            except ValueError as error:
                yield (key,), str(error)
                continue
            yield from ((path, said) for path, said in _fits(one, key, selector, [m.group for m in found]))


def _fits(one: Perturbation, key: str, selector: str, groups: list[Peers]) -> Iterator[Broken]:
    """Whether what a selector means can suffer this kind."""
    if selector.startswith("random:"):
        number = selector.split(":")[1]
        if not number.isdigit() or not 1 <= int(number) <= len(groups):
            yield (key,), f"{selector!r}: give a number from 1 to {len(groups)}"
    if key != "peers":
        return
    if one.kind == "engine-kill" and all(group.engine in ("none", "torch") for group in groups):
        yield (key,), f"{selector} has no model server of its own"
    if one.kind == "join" and not all(group.later for group in groups):
        yield (key,), f"{selector} has started already; give its group later = true"
    if one.kind != "join" and any(group.role == "client" for group in groups):
        yield (key,), f"{selector} is a client; only peers can be perturbed"
    if one.kind == "upgrade" and not all(group.release == "previous" for group in groups):
        yield (key,), f"{selector} runs this release already; give its group release = \"previous\""
