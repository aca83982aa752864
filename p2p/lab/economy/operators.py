"""One operator: a machine, its node keys and accounts, and what it spent. Law: its profit is what the ledger gave it, less what it spent; how
lucky it was in the draws is kept beside it, not taken out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.keys import Key, digest
from p2p.lab.economy.strategies import Strategy


@dataclass(slots=True)
class Operator:
    """nodes, owners: keys, in pairs (a split machine has several nodes, one or several accounts). dealer: account that it asks itself from.
    spent_micro: on computing and checking. luck: per epoch, tokens of clients it was drawn for less those its weight would have had in the mean
    while it served. counts: what happened to its nodes, for print."""

    strategy: Strategy
    number: int
    weight: int
    nodes: list[Key]
    owners: list[Key]
    dealer: Key
    spent_micro: float = 0.0
    profits: list[float] = field(default_factory=list)
    luck: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    last: float = 0.0
    drawn: float = 0.0

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def accounts(self) -> list[bytes]:
        return [*dict.fromkeys(owner.public for owner in self.owners), self.dealer.public]


def make(strategy: Strategy, number: int, weight: int) -> Operator:
    """Keys from the number alone, so that a seed of the world changes luck and nothing else."""
    def key(what: bytes, at: int) -> Key:
        return Key(digest(b"economy", what, number.to_bytes(4, "big"), at.to_bytes(4, "big")))

    owners = [key(b"owner", at % strategy.owners) for at in range(strategy.nodes)]
    return Operator(strategy, number, weight, [key(b"node", at) for at in range(strategy.nodes)], owners, key(b"dealer", 0))
