"""How long a peer waits, and which dates it believes. Law: milliseconds; parameters, not rules: any values are safe,
good ones are live.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.consensus.round import TimeoutKind

TIMEOUT_ROUNDS = 60  # from this round on timeouts grow no more
DELAY_ROUNDS = 100  # from this round on the delay grows no more: by then it is hours


@dataclass(frozen=True, slots=True)
class Timing:
    """Defaults are those of a real network; tests set shorter ones."""

    propose_ms: int = 1500  # timeout of the propose step in round 0
    vote_ms: int = 600  # timeout of the prevote and precommit steps in round 0
    delta_ms: int = 400  # each timeout is longer by this in each later round
    block_interval_ms: int = 300  # from a decision to the next height, when transactions are waiting
    empty_block_interval_ms: int = 1000  # from the beginning of a height to the next when none are, and no sooner
    rebroadcast_ms: int = 1000  # between two repeats (rule R)
    precision_ms: int = 500  # how far apart two right clocks may be
    # how long a proposal may be on its way in round 0; a tenth more in each later round, so that blocks are decided
    # where proposals take longer than was assumed
    delay_ms: int = 4000

    def timeout_ms(self, kind: TimeoutKind, round_: int) -> int:
        """How long to wait in a step of `round_`."""
        base = self.propose_ms if kind is TimeoutKind.PROPOSE else self.vote_ms
        return base + self.delta_ms * min(round_, TIMEOUT_ROUNDS)

    def delay_in(self, round_: int) -> int:
        """How long a proposal of `round_` may be on its way."""
        rounds = min(max(round_, 0), DELAY_ROUNDS)
        return self.delay_ms * int(11**rounds) // int(10**rounds)  # x 1.1 per round, in whole numbers

    def is_timely(self, time_ms: int, received_ms: int, round_: int) -> bool:
        """Rule Y: whether a fresh proposal of `round_`, dated time_ms and here since received_ms by our clock, may
        have been made when it says."""
        earliest_ms = received_ms - self.delay_in(round_) - self.precision_ms
        return earliest_ms <= time_ms <= received_ms + self.precision_ms

    def wait_ms(self, last_time_ms: int, now_ms: int) -> int:
        """How long a proposer waits until its clock is past the last block's time. A right clock is behind it by at
        most twice the precision; one that is further behind is wrong, and waiting would not help, so it is 0 then."""
        behind = last_time_ms + 1 - now_ms
        return behind if 0 < behind <= 2 * self.precision_ms else 0

    @property
    def forward_again_ms(self) -> int:
        """After how long the same content is passed on again: sooner than its author repeats it, later than a copy
        of the same repeat can arrive."""
        return self.rebroadcast_ms * 3 // 4
