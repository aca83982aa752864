"""Which agents had work done here and did not stand by it: no Start on chain, or an end in which nobody is paid because of what only the agent
could have done otherwise. Law: an executor works for an agent only as far as that agent's word has held; what is remembered is bounded.

An agent with weight may fail MAX_UNSTARTED times in FORGOTTEN_AFTER heights, one without weight never: its key costs little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2p.ledger.serving import DRAW_WINDOW
from p2p.limits import MAX_UNSTARTED
from p2p.types import SignedRequest

FORGOTTEN_AFTER = 20 * DRAW_WINDOW  # heights
_KEPT = 64  # of one agent


class Word(Enum):
    """What became of a request. OPEN: the chain does not hold it yet. PENDING: it does. KEPT: it ended, or its account made it impossible.
    BROKEN: agent and executor said different things, or nobody could get its payload."""

    OPEN = "open"
    PENDING = "pending"
    KEPT = "kept"
    BROKEN = "broken"


@dataclass(slots=True)
class Unstarted:
    """word: what the chain says of a request now."""

    word: Callable[[SignedRequest], Word]
    _open: dict[bytes, deque[tuple[int, SignedRequest]]] = field(default_factory=dict)
    _broken: dict[bytes, deque[int]] = field(default_factory=dict)

    def note(self, agent: bytes, signed: SignedRequest, height: int) -> None:
        """Work for it begins at `height`."""
        self._open.setdefault(agent, deque(maxlen=_KEPT)).append((height, signed))

    def owes(self, agent: bytes, height: int, *, weighty: bool = True) -> bool:
        """Whether too many of its requests can never be paid any more, though the work was done."""
        open_ones, broken = list[tuple[int, SignedRequest]](), deque(self._broken.pop(agent, ()), maxlen=_KEPT)
        for at, signed in self._open.pop(agent, ()):
            word = self.word(signed)
            if word is Word.BROKEN:
                broken.append(at)
            elif word is not Word.KEPT and height - at <= FORGOTTEN_AFTER:
                open_ones.append((at, signed))
        broken = deque((at for at in broken if height - at <= FORGOTTEN_AFTER), maxlen=_KEPT)
        if open_ones:
            self._open[agent] = deque(open_ones, maxlen=_KEPT)
        if broken:
            self._broken[agent] = broken
        late = sum(height - at > DRAW_WINDOW and self.word(signed) is Word.OPEN for at, signed in open_ones)
        return late + len(broken) > (MAX_UNSTARTED if weighty else 0)
