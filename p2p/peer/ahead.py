"""How far an executor works for an account before the chain holds its money. Law: all executors of a model together begin answers ahead of the
chain worth at most what the account has and has proven (Account.proven_micro), through however many agents; else the Start comes first.

An agent reserves what it takes; agents do not know of each other. So the bound is the executors': each has an equal part of it, and what an
account had here and never paid stays counted for FORGOTTEN_AFTER heights. Who has money for one request has one answer, a block later.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p.base.limits import MAX_AHEAD, MAX_AHEAD_ACCOUNTS
from p2p.peer.agent_credit import FORGOTTEN_AFTER


@dataclass(slots=True)
class Ahead:
    """on_chain: whether a request, by its id, was started by this agent, however long ago; who else started it pays for another draw. _open: by
    account, those that were begun here ahead of the chain: height, id, agent, escrow; accounts in the order of their last one."""

    on_chain: Callable[[bytes, bytes], bool]
    _open: OrderedDict[bytes, deque[tuple[int, bytes, bytes, int]]] = field(default_factory=OrderedDict)

    def covers(self, account: bytes, escrow_micro: int, trusted_micro: int, executors: int, height: int) -> bool:
        """Whether a request may be begun at once. trusted_micro: what the account has and has proven. executors: that share it."""
        left = self._left(account, height)
        return len(left) < MAX_AHEAD and sum(row[3] for row in left) + escrow_micro <= trusted_micro // max(executors, 1)

    def note(self, account: bytes, agent: bytes, inference_id: bytes, escrow_micro: int, height: int) -> None:
        """It is begun ahead of the chain. Among too many accounts the one of longest ago is forgotten, for it has shown least lately."""
        self._open.setdefault(account, deque(maxlen=MAX_AHEAD)).append((height, inference_id, agent, escrow_micro))
        self._open.move_to_end(account)
        while len(self._open) > MAX_AHEAD_ACCOUNTS:
            self._open.popitem(last=False)

    def _left(self, account: bytes, height: int) -> list[tuple[int, bytes, bytes, int]]:
        """Those of the account that are not on chain, and are not forgotten."""
        kept = [row for row in self._open.get(account, ()) if height - row[0] <= FORGOTTEN_AFTER and not self.on_chain(row[1], row[2])]
        if kept:
            self._open[account] = deque(kept, maxlen=MAX_AHEAD)
        else:
            self._open.pop(account, None)
        return kept
