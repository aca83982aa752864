"""How long a peer waits, and which time it believes. Law: milliseconds; network parameters, not consensus rules: any values are safe, good
ones are live.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.consensus.round import TimeoutKind

DELAY_ROUNDS = 100  # after so many rounds the delay grows no more: by then it is hours


@dataclass(frozen=True, slots=True)
class Timing:
    """block_interval_ms, empty_block_interval_ms: delays AFTER a decision, with transactions waiting and without. delta_ms: more per round.

    precision_ms: how far apart two clocks that are right may be. delay_ms: how long a proposal may be on its way in round 0; a tenth more in
    each later round, so that blocks go on where it takes longer than was assumed."""

    propose_ms: int = 1500
    vote_ms: int = 600
    delta_ms: int = 400
    block_interval_ms: int = 300
    empty_block_interval_ms: int = 1000
    rebroadcast_ms: int = 1000
    precision_ms: int = 500
    delay_ms: int = 4000

    def timeout_ms(self, kind: TimeoutKind, round_: int) -> int:
        base = self.propose_ms if kind is TimeoutKind.PROPOSE else self.vote_ms
        return base + self.delta_ms * min(round_, 60)

    def delay_in(self, round_: int) -> int:
        """The longest way of a proposal that is believed in `round_`."""
        rounds = min(max(round_, 0), DELAY_ROUNDS)
        return self.delay_ms * int(11**rounds) // int(10**rounds)

    def is_timely(self, time_ms: int, received_ms: int, round_: int) -> bool:
        """Y: whether a fresh proposal of `round_`, dated time_ms and here since received_ms by our clock, may have been made when it says."""
        return received_ms - self.delay_in(round_) - self.precision_ms <= time_ms <= received_ms + self.precision_ms

    def wait_ms(self, last_time_ms: int, now_ms: int) -> int:
        """How long a proposer waits until its clock is past the last block's time. Two clocks that are right are never further behind it than
        twice the precision: a clock that is, is wrong, and no wait would mend it."""
        behind = last_time_ms + 1 - now_ms
        return behind if 0 < behind <= 2 * self.precision_ms else 0

    @property
    def forward_again_ms(self) -> int:
        """The same content is passed on again after this time: sooner than its author repeats it, later than anyone else gains by."""
        return self.rebroadcast_ms * 3 // 4
