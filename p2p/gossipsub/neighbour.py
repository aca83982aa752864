"""What a router knows of one connected peer.

Law: it ends with the connection; only scores and back-offs outlive it.
"""

from __future__ import annotations

from p2p.base.limits import IGNORED_S, MAX_IGNORED, MAX_MESSAGE_IDS
from p2p.gossipsub.outbound import Outbound
from p2p.gossipsub.rpc import PeerInfo, Rpc, Version


class Neighbour:
    """A connected peer, its queue, and what it has done since the last heartbeat."""

    __slots__ = (
        "answered_bytes", "asked_ids", "behind", "dialled", "dont_want", "dont_wants", "group", "has", "ignored",
        "info", "name", "offers", "queue", "score", "topics", "version", "wanted", "wanted_ids",
    )

    def __init__(self, name: str, *, version: Version, dialled: bool, group: str, queue: Outbound) -> None:
        self.name, self.version, self.dialled, self.group, self.queue = name, version, dialled, group, queue
        self.topics: set[str] = set()  # that it has subscribed to
        self.score = 0.0  # as of the last heartbeat or penalty
        self.wanted = False  # it is preferred, in the mesh and beside it
        self.info: PeerInfo | None = None  # what others may be told of it
        self.dont_want: dict[bytes, int] = {}  # ids of its IDONTWANTs -> heartbeats for which they hold
        self.has: set[bytes] = set()  # ids that it sent while messages waited for it
        self.ignored: dict[bytes, float] = {}  # its messages that were ignored -> until when they are not judged again
        self.behind = 0  # heartbeats in which it hears of messages though it is in the mesh
        # since the last heartbeat
        self.offers = 0  # IHAVEs that came
        self.asked_ids = 0  # ids that we asked it for
        self.wanted_ids = 0  # ids that it asked us for
        self.answered_bytes = 0  # of messages that it asked for
        self.dont_wants = 0  # ids of IDONTWANTs that came

    def take(self, most_bytes: int) -> Rpc | None:
        """What is due to it, without messages that it has."""
        rpc = self.queue.take(most_bytes, self.has | self.dont_want.keys() if self.has or self.dont_want else ())
        if not self.queue.messages:
            self.has.clear()
        return rpc

    def sent(self, id_: bytes) -> None:
        """It sent a message that we have already, so ours need not go there."""
        if self.queue.messages:
            if len(self.has) >= MAX_MESSAGE_IDS:
                self.has.clear()
            self.has.add(id_)

    def ignore(self, id_: bytes, now: float) -> None:
        """Its message was ignored: it is not judged again for IGNORED_S when it comes from here."""
        self.ignored.pop(id_, None)
        if len(self.ignored) >= MAX_IGNORED:
            del self.ignored[next(iter(self.ignored))]
        self.ignored[id_] = now + IGNORED_S

    def turn(self, now: float, history: int) -> None:
        """A heartbeat has passed: begin to count anew, and forget what is over. history: heartbeats for which one whose
        queue lost something hears of messages."""
        self.offers = self.asked_ids = self.wanted_ids = self.answered_bytes = self.dont_wants = 0
        self.behind = history if self.queue.lost else max(0, self.behind - 1)
        self.queue.lost = False
        if self.dont_want:
            self.dont_want = {id_: left - 1 for id_, left in self.dont_want.items() if left > 1}
        if self.ignored:
            self.ignored = {id_: until for id_, until in self.ignored.items() if until > now}
