"""How fast a peer goes: slower while rounds fail for lateness, as fast as before when they succeed in time (rule A).

Law: pure; the pace follows from what was decided here and how long it took, and changes when a peer acts, never what
it may sign.

A stretch in per cent multiplies every duration of Timing but the precision of clocks, so the relations between them
stay as they are. A round whose proposer was silent says nothing about lateness: then a dead validator would slow the
network down in each of its turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from p2p.base.limits import MAX_STRETCH
from p2p.consensus.machine import Machine
from p2p.consensus.round import TimeoutKind
from p2p.consensus.timing import Timing

CALM = 100  # per cent: not stretched
STEP = 50  # per cent more for each late round
RECOVERY = 4  # a decision in time takes this part of what is beyond CALM: with every third height late it stays near 2


def late_rounds(machine: Machine, round_: int) -> int:
    """Rounds before `round_` that failed although a valid proposal of theirs is here: it, or the votes for it, came too
    late."""
    return sum(
        any(machine.validity.get(one.proposal.block_id, False) for one in machine.proposals.get(number, ()))
        for number in range(max(0, round_ - MAX_STRETCH * CALM // STEP), round_)
    )


class Pacing:
    """One peer's pace. strain: how much longer its own work takes than on time, 1 or more (machine/deadlines.py)."""

    def __init__(self, base: Timing, strain: Callable[[], float] = lambda: 1.0) -> None:
        self._base, self._strain = base, strain
        self.percent = CALM
        self.now = base  # the durations at this pace

    def decided(self, late: int, round_: int, took_ms: int) -> None:
        """A height was decided in `round_`, `took_ms` after it began here; `late` rounds of it were late."""
        if late > 0:
            self._go(self.percent + STEP * late)
        elif round_ <= 0 and 2 * took_ms <= self._round_ms():
            beyond = self.percent - CALM
            self._go(self.percent - max(beyond // RECOVERY, min(beyond, 1)))

    def timeout_ms(self, kind: TimeoutKind, round_: int) -> int:
        """How long to wait in a step of `round_`: longer where this peer itself is late. Shorter than a proposal may be
        on its way, so that rule Y refuses nothing that came before the timeout."""
        longest = self.now.delay_in(round_) - 1
        return min(longest, self._strained(self.now.timeout_ms(kind, round_)))

    def rest_ms(self, took_ms: int) -> int:
        """How much longer than for a block with transactions to wait before an empty one, when the last height took
        `took_ms` from its beginning: heights then begin an interval apart, however long a decision takes."""
        now = self.now
        return max(0, now.empty_block_interval_ms - now.block_interval_ms - max(0, took_ms))

    def rebroadcast_ms(self) -> int:
        """Until the next repeat (rule R): what a late peer has not read yet is not said to it again meanwhile."""
        return self._strained(self.now.rebroadcast_ms)

    def _strained(self, length_ms: int) -> int:
        return int(length_ms * min(float(MAX_STRETCH), max(1.0, self._strain())))

    def _round_ms(self) -> int:
        """What the timeouts of a first round allow."""
        return self.now.propose_ms + 2 * self.now.vote_ms

    def _go(self, percent: int) -> None:
        self.percent = max(CALM, min(MAX_STRETCH * CALM, percent))
        base, share = self._base, self.percent
        self.now = replace(
            base, propose_ms=base.propose_ms * share // CALM, vote_ms=base.vote_ms * share // CALM,
            delta_ms=base.delta_ms * share // CALM, block_interval_ms=base.block_interval_ms * share // CALM,
            empty_block_interval_ms=base.empty_block_interval_ms * share // CALM,
            rebroadcast_ms=base.rebroadcast_ms * share // CALM, delay_ms=base.delay_ms * share // CALM,
        )
