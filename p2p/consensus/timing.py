"""How long a peer waits. Law: milliseconds; network parameters, not consensus rules: any values are safe, good ones are live."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.consensus.round import TimeoutKind


@dataclass(frozen=True, slots=True)
class Timing:
    """The two intervals are delays AFTER a decision: with transactions waiting, and without. delta_ms: more per round."""

    propose_ms: int = 1500
    vote_ms: int = 600
    delta_ms: int = 400
    block_interval_ms: int = 300
    empty_block_interval_ms: int = 1000
    rebroadcast_ms: int = 1000

    def timeout_ms(self, kind: TimeoutKind, round_: int) -> int:
        base = self.propose_ms if kind is TimeoutKind.PROPOSE else self.vote_ms
        return base + self.delta_ms * min(round_, 60)
