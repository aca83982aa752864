"""Which agents had work done here and never put its Start on chain. Law: an executor works ahead of the chain for an agent only as far as that
agent's word has held; what is remembered is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p.ledger.serving import DRAW_WINDOW
from p2p.limits import MAX_UNSTARTED
from p2p.types import SignedRequest

FORGOTTEN_AFTER = 20 * DRAW_WINDOW  # heights
_KEPT = 64  # of one agent


@dataclass(slots=True)
class Unstarted:
    """started: whether the chain has seen a request (its nonce is used, by whichever request: then it is not the agent's fault)."""

    started: Callable[[SignedRequest], bool]
    _open: dict[bytes, deque[tuple[int, SignedRequest]]] = field(default_factory=dict)

    def note(self, agent: bytes, signed: SignedRequest, height: int) -> None:
        """Work for it begins at `height`."""
        self._open.setdefault(agent, deque(maxlen=_KEPT)).append((height, signed))

    def owes(self, agent: bytes, height: int) -> bool:
        """Whether more than MAX_UNSTARTED of its requests can never start any more, though the work was done."""
        left = [
            (at, signed) for at, signed in self._open.pop(agent, ()) if height - at <= FORGOTTEN_AFTER and not self.started(signed)
        ]
        if left:
            self._open[agent] = deque(left, maxlen=_KEPT)
        return sum(height - at > DRAW_WINDOW for at, _ in left) > MAX_UNSTARTED
