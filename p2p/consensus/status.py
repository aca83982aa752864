"""What the consensus engine says of itself. Law: data only."""

from __future__ import annotations

from msgspec import Struct


class ConsensusStatus(Struct, frozen=True):
    """Where this peer stands."""

    height: int
    round: int
    step: str
    validator: bool  # whether this peer is one at this height
    proposer: str  # of this round, hexadecimal
    pace_percent: int  # how much longer its timers are than the network's, 100 where they are not (rule A)
    evidence: int  # of misbehaviour, not in a block yet
    observing: bool  # it signs nothing yet, because its key may have signed elsewhere
    clock_lag_ms: int | None  # how far this peer's clock is ahead of the network's; None: not known yet
    clock: str  # a warning about it; empty: none
    dropped: int = 0  # messages that found the queue full, since the start
    vote_streams: int = 0  # to other peers, for votes
