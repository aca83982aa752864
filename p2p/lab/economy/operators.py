"""One operator: a machine, its node keys and accounts, and what it spent. Law: its profit is what the ledger gave it
less what it spent; its luck in the draws is recorded with the profit, and is not removed from it here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.base.keys import Key, digest
from p2p.lab.economy.strategies import Strategy


@dataclass(slots=True)
class Operator:
    strategy: Strategy
    number: int
    weight: int  # of the whole machine
    nodes: list[Key]
    # accounts: owners[i] owns nodes[i]. A machine may be split into nodes of one or of several accounts
    owners: list[Key]
    dealer: Key  # an account that the chain does not know to be its own, from which it asks itself
    spent_micro: float = 0.0  # on computing and checking
    profits: list[float] = field(default_factory=list)  # micro-credits, one an epoch
    # One an epoch: client tokens that it was drawn for, less those that its weight gets in the mean.
    luck: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # what happened to its nodes, for the tables
    last: float = 0.0  # wealth less spending at the end of the last epoch, micro-credits
    drawn: float = 0.0  # luck of the running epoch

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def accounts(self) -> list[bytes]:
        return [*dict.fromkeys(owner.public for owner in self.owners), self.dealer.public]


def make(strategy: Strategy, number: int, weight: int) -> Operator:
    """Keys follow from the number alone: two worlds with different seeds have the same operators."""
    def key(what: bytes, at: int) -> Key:
        return Key(digest(b"economy", what, number.to_bytes(4, "big"), at.to_bytes(4, "big")))

    owners = [key(b"owner", at % strategy.owners) for at in range(strategy.nodes)]
    return Operator(
        strategy, number, weight, [key(b"node", at) for at in range(strategy.nodes)], owners, key(b"dealer", 0)
    )
