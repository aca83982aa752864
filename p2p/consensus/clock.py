"""What decided blocks say of our own clock. Law: an opinion for people to read; no rule uses it.

A proposal is dated by its proposer and arrives a little later. When more than half of the decided ones seem to come
from the future, or from long ago, our clock is wrong and not theirs: a quorum found them timely.
"""

from __future__ import annotations

from collections import deque

import structlog

from p2p.consensus.pacing import CALM, Pacing

log = structlog.get_logger()

BLOCKS = 9  # decided blocks that the opinion is made of
AHEAD_MS = 3000  # proposals are seldom so long on their way, where the pace is not stretched (rule A)


class ClockWatch:
    """The lags of the blocks decided last: how long after its date each proposal arrived here."""

    def __init__(self, pace: Pacing) -> None:
        self._pace = pace
        self._lags: deque[int] = deque(maxlen=BLOCKS)

    def decided(self, time_ms: int, received_ms: int) -> None:
        """A block dated time_ms was decided; its proposal arrived at received_ms by our clock."""
        before = self.warning()
        self._lags.append(received_ms - time_ms)
        after = self.warning()
        if bool(after) != bool(before):
            log.warning(after or "our clock agrees with the network's again")

    @property
    def lag_ms(self) -> int | None:
        """The median; None while there is none."""
        return sorted(self._lags)[len(self._lags) // 2] if self._lags else None

    def warning(self) -> str:
        """The sentence for people when our clock seems wrong; else empty."""
        lag = self.lag_ms
        least, most = -self._pace.now.precision_ms, AHEAD_MS * self._pace.percent // CALM
        if lag is None or len(self._lags) <= BLOCKS // 2 or least <= lag <= most:
            return ""
        way = "ahead of" if lag > 0 else "behind"
        return (
            f"your clock seems {abs(lag) / 1000:.1f} s {way} the network's: set it (NTP); "
            "until then your proposals and votes may not count"
        )
