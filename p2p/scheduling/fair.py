"""Fair shares of one model's ML nodes between accounts.

Law: while two accounts have jobs waiting, the tokens they got since differ by no more than what one job of each may
use. An account that was away gains nothing by it. What is remembered is bounded.

This is the virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024,
arXiv:2401.00588), which is start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) on tokens of jobs whose length is
not known: the account with the lowest counter goes first, a job is charged what it is expected to use when it is placed
and corrected when it ends, and an account that comes back is lifted to the lowest counter of those that wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2p.base.serving_limits import MAX_METERED


@dataclass(slots=True)
class Shares:
    """The counters of one model."""

    most: int = MAX_METERED  # accounts remembered
    floor: float = 0.0  # where an account begins that is not remembered: what the last one placed had
    _used: dict[bytes, float] = field(default_factory=dict)  # account -> its counter

    def __len__(self) -> int:
        return len(self._used)

    def of(self, account: bytes) -> float:
        return self._used.get(account, self.floor)

    def arrive(self, account: bytes, waiting: Iterable[bytes]) -> None:
        """A job of `account` begins to wait, and it had none waiting. waiting: the accounts that have."""
        lowest = min((self.of(one) for one in waiting), default=self.floor)
        self._set(account, max(self.of(account), lowest))

    def charge(self, account: bytes, tokens: float) -> None:
        """A job of `account` was placed that is expected to use so many."""
        self.floor = max(self.floor, self.of(account))
        self._set(account, self.of(account) + tokens)

    def correct(self, account: bytes, tokens: float) -> None:
        """It used so many more, or fewer where below 0."""
        if account in self._used:
            self._used[account] += tokens

    def _set(self, account: bytes, value: float) -> None:
        self._used[account] = value
        if len(self._used) > self.most:  # those at the floor lose nothing; else it regains the least
            for one in [one for one, used in self._used.items() if used <= self.floor and one != account]:
                del self._used[one]
        if len(self._used) > self.most:
            del self._used[min((used, one) for one, used in self._used.items() if one != account)[1]]
