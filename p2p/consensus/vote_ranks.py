"""Which of the validators that are up here has which rank. Law: as relays.py says, and remembered until somebody comes
or goes."""

from __future__ import annotations

from p2p.consensus.driver import Driver
from p2p.consensus.machine import Machine
from p2p.consensus.relays import order
from p2p.consensus.vote_neighbours import Neighbours
from p2p.consensus.vote_pool import NOBODY, Item, VotePool


class VoteRanks:
    """The ranks of one exchange. pools: its pools by height; what is asked about has one."""

    def __init__(self, driver: Driver, neighbours: Neighbours, pools: dict[int, VotePool]) -> None:
        self._driver, self._neighbours, self._pools = driver, neighbours, pools
        self._orders: dict[tuple[int, int], tuple[bytes, ...]] = {}  # by height and round

    def forget(self) -> None:
        """Somebody came or went, or the height or round is another."""
        self._orders.clear()

    def at(self, height: int, round_: int) -> tuple[bytes, ...]:
        """The validators that are up here, and this one, by rank."""
        if (height, round_) not in self._orders:
            machine, members = self._machine(height), self._pools[height].members
            up = self._neighbours.keys() | {machine.me}
            self._orders[height, round_] = tuple(
                key for key in order(members, machine.proposer_of, round_) if key in up
            )
        return self._orders[height, round_]

    def of(self, item: Item) -> tuple[bytes, ...]:
        """By rank for a message."""
        round_ = item.slot[0] if item.slot is not None else max(self._machine(item.height).round, 0)
        return self.at(item.height, round_)

    def rank(self, item: Item, key: bytes) -> int:
        """NOBODY where it has none."""
        return _place(self.of(item), key)

    def own(self, height: int, round_: int) -> int:
        """This peer's."""
        return _place(self.at(height, round_), self._driver.machine.me)

    def _machine(self, height: int) -> Machine:
        """Whose schedule of proposers holds at a height."""
        driver = self._driver
        return driver.machine if height == driver.height or driver.previous is None else driver.previous


def _place(ranks: tuple[bytes, ...], key: bytes) -> int:
    return ranks.index(key) if key in ranks else NOBODY
