"""Which peer a client asks next.

Law: pure; the caller passes the time. A peer that answers fast is asked before a slow one, one that failed lately
comes last, and one that was not measured for a while is measured again. Where nothing tells two peers apart, each
client has an order of its own, so that not all ask the same one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from p2p.base.serving_limits import MAX_CHOICES, PEER_AVOID_FIRST_S, PEER_AVOID_MAX_S, PEER_FORGET_S

WEIGHT = 0.3  # of a new measurement


@dataclass(slots=True)
class _Peer:
    rank: float  # random
    latency_s: float = 0.0  # to the first token, smoothed
    measured_at: float | None = None
    failures: int = 0  # in a row
    avoid_until: float = 0.0
    running: int = 0  # questions that it has of us


@dataclass(slots=True)
class PeerChoice:
    """What a client has seen of each peer. Times are seconds of one clock."""

    rng: random.Random = field(default_factory=random.Random)
    _peers: dict[str, _Peer] = field(default_factory=dict)

    def order(self, peers: Iterable[str], now: float, prefer: str = "") -> tuple[str, ...]:
        """The best one first. prefer: comes first unless it is avoided."""
        return tuple(sorted(peers, key=lambda peer: self._key(peer, now, prefer)))

    def is_avoided(self, peer: str, now: float) -> bool:
        """Whether it failed so lately that others are asked first."""
        known = self._peers.get(peer)
        return known is not None and now < known.avoid_until

    def begun(self, peer: str) -> None:
        """It is asked; `ended` says that this is over."""
        self._known(peer).running += 1

    def ended(self, peer: str) -> None:
        known = self._known(peer)
        known.running = max(0, known.running - 1)

    def answered(self, peer: str, seconds: float, now: float) -> None:
        """It gave a first token so long after it was asked. Earlier failures are forgiven."""
        known = self._known(peer)
        is_fresh = known.measured_at is not None and now - known.measured_at < PEER_FORGET_S
        known.latency_s = known.latency_s + WEIGHT * (seconds - known.latency_s) if is_fresh else seconds
        known.measured_at, known.failures, known.avoid_until = now, 0, 0.0

    def waited(self, peer: str, seconds: float, now: float) -> None:
        """It gave no token for so long, and its caller left: it is at least so slow."""
        known = self._known(peer)
        is_fresh = known.measured_at is not None and now - known.measured_at < PEER_FORGET_S
        if not is_fresh or seconds > known.latency_s:
            known.latency_s, known.measured_at = seconds, now

    def failed(self, peer: str, now: float, pause_s: float = 0.0) -> None:
        """It gave no answer. pause_s: the least time for which others are asked first."""
        known = self._known(peer)
        avoid_s = min(PEER_AVOID_FIRST_S * 2.0 ** min(known.failures, 30), PEER_AVOID_MAX_S)
        known.failures += 1
        known.avoid_until = max(known.avoid_until, now + min(max(avoid_s, pause_s), PEER_AVOID_MAX_S))

    def _key(self, peer: str, now: float, prefer: str) -> tuple[float, bool, float, int, float]:
        known = self._known(peer)
        is_fresh = known.measured_at is not None and now - known.measured_at < PEER_FORGET_S
        latency_s = known.latency_s * (1 + known.running) if is_fresh else 0.0
        avoided = known.avoid_until if now < known.avoid_until else 0.0
        return avoided, peer != prefer, latency_s, known.running, known.rank

    def _known(self, peer: str) -> _Peer:
        if peer not in self._peers:
            while len(self._peers) >= MAX_CHOICES:
                del self._peers[next(iter(self._peers))]
            self._peers[peer] = _Peer(self.rng.random())
        return self._peers[peer]
