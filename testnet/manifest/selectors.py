"""Which members a perturbation means.

Law: pure; chance comes from a generator that the caller seeds.

| selector | means |
|---|---|
| `host3` | that one |
| `host` | all of the group |
| `region:eu` | all in that region |
| `role:host` | all of that role |
| `random:3` | three peers by chance; `random:3:host` three of the group |
| `all` | every peer |
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from testnet.manifest.members import Member


def matching(selector: str, among: Sequence[Member]) -> list[Member]:
    """The members that a selector without chance means, and all that `random` may choose from.

    Raises ValueError with a sentence where it means nobody.
    """
    kind, _, value = selector.partition(":")
    if kind == "random":
        value = value.partition(":")[2] or "all"
        found = matching(value, among)
    elif kind == "all":
        found = [member for member in among if member.is_peer]
    elif kind == "region":
        found = [member for member in among if member.is_peer and member.region == value]
    elif kind == "role":
        found = [member for member in among if member.role == value]
    else:
        found = [member for member in among if selector in (member.name, member.group.name)]
    if not found:
        raise ValueError(f"{selector!r} is no peer, group, region:NAME, role:NAME, random:N, random:N:GROUP or all")
    return found


def choose(selectors: Sequence[str], among: Sequence[Member], rng: random.Random) -> tuple[Member, ...]:
    """The members that these selectors mean, each once, in the order of `among`. Raises ValueError."""
    chosen: set[str] = set()
    for selector in selectors:
        found = matching(selector, among)
        if selector.startswith("random:"):
            number = selector.split(":")[1]
            if not number.isdigit() or not 1 <= int(number) <= len(found):
                raise ValueError(f"{selector!r}: give a number from 1 to {len(found)}")
            found = rng.sample(found, int(number))
        chosen |= {member.name for member in found}
    return tuple(member for member in among if member.name in chosen)
