"""What was seen of a network from outside, for the checks and the report. Law: data, and lookups in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from testnet.runs.asking import Answer
from testnet.runs.events import Event
from testnet.runs.result import VerdictRow
from testnet.runs.watching import Look, Seen, highest

REFUSED = "INVALIDATED"


@dataclass(frozen=True, slots=True)
class Booked:
    """One inference as the chain has it."""

    status: str
    executor: str  # name of the peer
    reason: str
    taken_over: int  # tokens that an earlier executor had streamed
    honest: bool  # its executor is no villain


@dataclass(slots=True)
class Evidence:
    members: Sequence[str]  # names of all peers
    asks: bool = False  # clients asked
    looks: list[Look] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    blocks: dict[int, dict[str, tuple[str, str]]] = field(default_factory=dict)  # height -> peer -> block and app hash
    inferences: dict[str, Booked | None] = field(default_factory=dict)  # by id of each receipt; None: nobody knows it
    sums: dict[int, str] = field(default_factory=dict)  # settled epoch -> what does not balance; '' where it does
    conduct: list[VerdictRow] = field(default_factory=list)
    died: Mapping[str, str] = field(default_factory=dict)  # process -> the end of its log
    gone: set[str] = field(default_factory=set)  # peers that were stopped and not started again
    links: list[tuple[str, str]] = field(default_factory=list)  # pairs of peers that are connected at the end

    def lost(self) -> list[str]:
        return [one for one, booked in self.inferences.items() if booked is None]

    def refused(self) -> list[str]:
        """Sentences: answers of honest executors that were refused."""
        return [
            f"{one[:16]} of {b.executor}{f', {b.taken_over} tokens taken over' if b.taken_over else ''}: {b.reason}"
            for one, b in self.inferences.items() if b is not None and b.honest and b.status == REFUSED
        ]

    def last(self) -> Mapping[str, Seen]:
        """Each peer as it was seen last, at the end."""
        return self.looks[-1].peers if self.looks else {}

    def away(self, at: float) -> frozenset[str]:
        """Peers that were meant not to run, or not to be reached, at that moment."""
        kinds = ("kill", "pause", "leave", "disconnect", "partition", "one-way", "disk-full", "bootstrap-gone")
        found = {
            name for event in self.events if event.kind in kinds and event.began <= at
            and (event.ended is None or event.ended > at) for name in event.names
        }
        return frozenset(found | self.gone)

    def expected(self, at: float, names: Sequence[str]) -> frozenset[str]:
        """Peers that must get higher after a moment: all that were ever seen by then and are not away, and `names`."""
        seen = {name for look in self.looks if look.at <= at for name in look.peers}
        return frozenset((seen | (set(names) & set(self.members))) - self.away(at))

    def grown(self, at: float, names: Sequence[str]) -> float | None:
        """When all of these stood above the highest height of that moment; None: not yet."""
        goal, wanted = highest(self.looks, at), self.expected(at, names)
        for look in self.looks:
            if look.at >= at and all(name in look.peers and look.peers[name].height > goal for name in wanted):
                return look.at
        return None
