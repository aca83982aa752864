"""A conversation whose requests are answered by the same executors (decision 057).

Law: its draw is made once, by the beacon and the serving set of the height at which it began, and ends after
SESSION_HEIGHTS. Which set that was is proved with the first answer, and not asked for again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from p2p.base.serving_limits import SESSION_HEIGHTS
from p2p.base.weighted_draw import WeightedDraw


@dataclass(slots=True)
class SessionDraw:
    """By what a session's executors are drawn."""

    id: bytes  # 32 random bytes
    model: str
    height: int  # at which it began
    beacon: bytes  # of that height, proved before the first request was signed
    serving: WeightedDraw | None = None  # who served the model at that height; None: not known yet
    is_proved: bool = False  # whether a decided header stands for that set


@dataclass(slots=True)
class Session:
    """One conversation. Give the same object to each of its questions; it begins with the first one, and begins again
    where its draw is over."""

    draw: SessionDraw | None = None  # None: no request was signed yet
    peer: str = ""  # the peer that answered last; another agent may draw others, because none asks itself

    def is_over(self, height: int, model: str = "") -> bool:
        """Whether a request that is drawn at `height` begins a new draw: nothing has begun, the hour is past, the peer
        that is asked is behind the session's height, or it is about another model ('' = the same)."""
        draw = self.draw
        if draw is None or model not in ("", draw.model):
            return True
        return not draw.height <= height <= draw.height + SESSION_HEIGHTS

    def at(self, model: str, height: int, beacon: bytes) -> SessionDraw:
        """The draw of a request at `height`, whose beacon is `beacon`. Begins a new one where the last one is over."""
        if self.draw is None or self.is_over(height, model):
            self.draw = SessionDraw(os.urandom(32), model, height, beacon)
        return self.draw

    def forget(self, draw: SessionDraw) -> None:
        """The network does not know this draw any more; the next request begins another one."""
        if self.draw is draw:
            self.draw = None
