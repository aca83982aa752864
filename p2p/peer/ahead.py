"""How far an executor works for an account before the chain holds its money.

Law: all executors of a model together begin, ahead of the chain, answers worth at most what the account has and has
proven (Account.proven_micro), through however many agents. Beyond that the Start comes first.

An agent reserves what it takes, but agents do not know of each other, so executors keep the bound: each has an equal
part of it. What an account received here and never paid counts for FORGOTTEN_AFTER heights. So an account with money
for one request gets one answer at once, and the next a block later.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p.base.serving_limits import MAX_AHEAD, MAX_AHEAD_ACCOUNTS
from p2p.peer.agent_credit import FORGOTTEN_AFTER


@dataclass(slots=True)
class Ahead:
    """One per executor."""

    # (inference, agent) -> whether this agent started it, however long ago; another agent's Start pays for another draw
    on_chain: Callable[[bytes, bytes], bool]
    # account -> (height, inference, agent, escrow) of requests begun ahead; accounts in the order of their last request
    _open: OrderedDict[bytes, deque[tuple[int, bytes, bytes, int]]] = field(default_factory=OrderedDict)

    def covers(self, account: bytes, escrow_micro: int, trusted_micro: int, executors: int, height: int) -> bool:
        """Whether a request may be begun at once. trusted_micro: what the account has and has proven. executors: that
        share it."""
        left = self._left(account, height)
        used_micro = sum(escrow for _, _, _, escrow in left) + escrow_micro
        return len(left) < MAX_AHEAD and used_micro <= trusted_micro // max(executors, 1)

    def note(self, account: bytes, agent: bytes, inference_id: bytes, escrow_micro: int, height: int) -> None:
        """The request is begun ahead of the chain. If there are too many accounts, the one that asked longest ago is
        forgotten."""
        self._open.setdefault(account, deque(maxlen=MAX_AHEAD)).append((height, inference_id, agent, escrow_micro))
        self._open.move_to_end(account)
        while len(self._open) > MAX_AHEAD_ACCOUNTS:
            self._open.popitem(last=False)

    def _left(self, account: bytes, height: int) -> list[tuple[int, bytes, bytes, int]]:
        """The account's requests begun here that are neither on chain nor forgotten."""
        kept = [
            row for row in self._open.get(account, ())
            if height - row[0] <= FORGOTTEN_AFTER and not self.on_chain(row[1], row[2])
        ]
        if kept:
            self._open[account] = deque(kept, maxlen=MAX_AHEAD)
        else:
            self._open.pop(account, None)
        return kept
