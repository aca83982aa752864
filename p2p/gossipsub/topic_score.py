"""What one neighbour did in one topic: the counters behind P1 to P4 of gossipsub v1.1.

Law: every counter is at least zero, the rewarded ones are capped, and all fade by the topic's factors.

Pure: the caller passes the time. Source: libp2p specification, gossipsub v1.1, 'The Score Function'.

- SCORE-1: P1 is the whole quanta of time in the mesh as of the last decay, up to its cap; outside the mesh it is 0.
- SCORE-2: P2 counts the messages that the neighbour brought first, up to its cap.
- SCORE-3: P3 is the squared deficit of mesh deliveries below the threshold. It applies to a neighbour that has been in
  the mesh for longer than the activation time. (Nothing is expected of one that was pruned: SCORE-3b.)
  **Ours:** where the topic sets a share, the threshold is at most this share of the messages that were accepted on the
  topic as of the last decay, so that nobody is to bring what did not exist: a chain that stands still costs nobody
  anything.
- SCORE-3b: a neighbour that leaves the mesh, by either side or with its connection, with a deficit has it squared and
  added to P3b, which stays when it comes back.
- SCORE-4: P4 is the square of the number of invalid messages, which has no cap.
"""

from __future__ import annotations

from p2p.gossipsub.params import TopicScoreParams


class Expected:
    """What each member of a topic's mesh is expected to have brought (SCORE-3)."""

    __slots__ = ("_accepted", "_params", "deliveries")

    def __init__(self, params: TopicScoreParams) -> None:
        self._params = params
        self._accepted = 0.0  # messages from whomever; fades as the members' counters do
        self.deliveries = 0.0 if params.mesh_message_deliveries_share else params.mesh_message_deliveries_threshold

    def accepted(self) -> None:
        """A message was accepted."""
        self._accepted += 1

    def decay(self, intervals: int, to_zero: float) -> None:
        """Fade by `intervals` decay intervals, and look what is to be expected now."""
        params = self._params
        self._accepted = faded(self._accepted, params.mesh_message_deliveries_decay, intervals, to_zero)
        if share := params.mesh_message_deliveries_share:
            self.deliveries = min(params.mesh_message_deliveries_threshold, share * self._accepted)


class TopicScore:
    """The counters of one neighbour in one topic."""

    __slots__ = (
        "_active", "_expected", "_failures", "_first", "_grafted", "_in_mesh", "_invalid", "_mesh", "_params", "_time",
    )

    def __init__(self, params: TopicScoreParams, expected: Expected) -> None:
        """expected: shared by all neighbours of the topic."""
        self._params, self._expected = params, expected
        self._in_mesh = False
        self._grafted = 0.0  # when
        self._time = 0.0  # seconds in the mesh as of the last decay
        self._active = False  # P3 applies
        self._first = 0.0
        self._mesh = 0.0
        self._failures = 0.0
        self._invalid = 0.0

    def graft(self, now: float) -> None:
        """The neighbour enters the mesh. Its deliveries of an earlier stay count until they have faded."""
        self._in_mesh, self._grafted, self._time, self._active = True, now, 0.0, False

    def prune(self) -> None:
        """The neighbour leaves the mesh, whoever wants it so."""
        self._failures += self._deficit() ** 2
        self._in_mesh = self._active = False

    def disconnect(self) -> None:
        """It leaves the mesh, and what it had earned is lost: only what is held against it waits for its return."""
        self.prune()
        self._first = 0.0

    def first(self) -> None:
        """It brought a valid message before all others."""
        self._first = min(self._first + 1, self._params.first_message_deliveries_cap)
        self.near_first()

    def near_first(self) -> None:
        """It brought a valid message in time; this counts from a neighbour in the mesh."""
        if self._in_mesh:
            self._mesh = min(self._mesh + 1, self._params.mesh_message_deliveries_cap)

    def copy(self, late_s: float) -> None:
        """It brought a copy of a message that was accepted `late_s` seconds ago."""
        if late_s <= self._params.mesh_message_deliveries_window:
            self.near_first()

    def invalid(self) -> None:
        """It brought a message that is wrong for every peer."""
        self._invalid += 1

    def decay(self, intervals: int, to_zero: float, now: float) -> bool:
        """Fade by `intervals` decay intervals; a counter below `to_zero` becomes zero. False: nothing can change."""
        if not (self._in_mesh or self._first or self._mesh or self._failures or self._invalid):
            return False
        params = self._params
        self._first = faded(self._first, params.first_message_deliveries_decay, intervals, to_zero)
        self._mesh = faded(self._mesh, params.mesh_message_deliveries_decay, intervals, to_zero)
        self._failures = faded(self._failures, params.mesh_failure_penalty_decay, intervals, to_zero)
        self._invalid = faded(self._invalid, params.invalid_message_deliveries_decay, intervals, to_zero)
        if self._in_mesh:
            self._time = now - self._grafted
            self._active = self._active or self._time > params.mesh_message_deliveries_activation
        return True

    def value(self) -> float:
        """The topic's part of the score, without the topic's own weight."""
        params = self._params
        total = 0.0
        if self._in_mesh:
            total = params.time_in_mesh_weight * min(self._time // params.time_in_mesh_quantum, params.time_in_mesh_cap)
        total += params.first_message_deliveries_weight * self._first
        total += params.mesh_message_deliveries_weight * self._deficit() ** 2
        total += params.mesh_failure_penalty_weight * self._failures
        return total + params.invalid_message_deliveries_weight * self._invalid**2

    def _deficit(self) -> float:
        return max(0.0, self._expected.deliveries - self._mesh) if self._active else 0.0


def faded(count: float, factor: float, intervals: int, to_zero: float) -> float:
    """`count` after that many decay intervals: a counter only falls, so below `to_zero` it was zero at some time."""
    if count == 0.0:
        return count
    count *= factor**intervals
    return count if count >= to_zero else 0.0
