"""What the blocks that others decide say of our own clock. Law: an opinion for people to read; no rule looks at it.

A proposal is dated by its proposer and arrives a little later. When those that were decided seem to come from the future, or from long ago,
more than half of the time, it is not they who are wrong: a quorum found them timely.
"""

from __future__ import annotations

from collections import deque

import structlog

from p2p.consensus.timing import Timing

log = structlog.get_logger()

BLOCKS = 9  # decided blocks that the opinion is made of
AHEAD_MS = 3000  # nobody's proposals are so long on their way as a rule


class ClockWatch:
    """heard(): a decided block's time and when its proposal arrived here. says(): the sentence for people, or ''."""

    def __init__(self, timing: Timing) -> None:
        self._precision_ms = timing.precision_ms
        self._lags: deque[int] = deque(maxlen=BLOCKS)

    def heard(self, time_ms: int, received_ms: int) -> None:
        before = self.says()
        self._lags.append(received_ms - time_ms)
        says = self.says()
        if bool(says) != bool(before):
            log.warning(says or "our clock agrees with the network's again")

    @property
    def lag_ms(self) -> int | None:
        """The middle one; None while there is none."""
        return sorted(self._lags)[len(self._lags) // 2] if self._lags else None

    def says(self) -> str:
        lag = self.lag_ms
        if lag is None or len(self._lags) <= BLOCKS // 2 or -self._precision_ms <= lag <= AHEAD_MS:
            return ""
        way = "ahead of" if lag > 0 else "behind"
        return f"your clock seems {abs(lag) / 1000:.1f} s {way} the network's: set it (NTP); until then your proposals and votes may not count"
