"""The peers that votes are exchanged with, and what is due to each. Law: at most one frame a tick to each; what is over
is not sent.

Each neighbour has a bit, with which a message's masks say who is known to have it. The mesh is a neighbour too: in a
set that is too large for streams, everything goes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from p2p.base.codec import encode
from p2p.base.limits import MAX_BUNDLE, MAX_BUNDLE_MESSAGES
from p2p.consensus.offer import Offer
from p2p.consensus.vote_frames import Bundle, Proposed
from p2p.consensus.vote_pool import Item

MESH = ""  # the mesh's name among peers
_HEAD = 64  # bytes of a bundle around its messages, at most
_EACH = 5  # bytes before each message, at most


@dataclass(slots=True, eq=False)
class Neighbour:
    """One peer, or the mesh. Times in ms."""

    peer: str
    key: bytes  # its public key, b"" for the mesh
    bit: int
    busy: dict[Neighbour, None]  # all neighbours that something is due to
    outbox: dict[Item, None] = field(default_factory=dict)
    offers: dict[Offer, None] = field(default_factory=dict)  # proposals, one a frame, before all else
    question: bytes = b""  # a packed Want that is due to it
    sent_ms: int = -(10**9)  # when its last frame left
    bundles: int = 0  # that were sent
    may_ask_ms: int = -(10**9)  # from when on its next question is answered
    asked: int = 0  # its questions that were answered at this height

    def push(self, item: Item) -> None:
        """Let it have a message with its next bundle, unless it is known to have it."""
        if not item.is_known(self.bit) and item.author != self.key:
            self.outbox[item] = None
            self.busy[self] = None

    def offer(self, offer: Offer) -> None:
        """Let it have a proposal, unless it is known to have it."""
        if not offer.known & self.bit:
            self.offers[offer] = None
            self.busy[self] = None

    def ask(self, question: bytes) -> None:
        """question: a packed Want, which takes the place of an earlier one."""
        self.question = question
        self.busy[self] = None

    def frame(self, now: int, is_over: Callable[[Item], bool]) -> bytes | None:
        """The next frame, None when nothing is due any more. is_over: what is of no use to anybody now."""
        data = self._proposal() or self._asked() or self._bundle(is_over)
        if data is not None:
            self.sent_ms = now
        if not (self.offers or self.question or self.outbox):
            self.busy.pop(self, None)
        return data

    def _proposal(self) -> bytes | None:
        while self.offers:
            offer = next(iter(self.offers))
            del self.offers[offer]
            if not offer.known & self.bit:
                offer.known |= self.bit
                return encode(Proposed(offer.data))
        return None

    def _asked(self) -> bytes | None:
        question, self.question = self.question, b""
        return question or None

    def _bundle(self, is_over: Callable[[Item], bool]) -> bytes | None:
        raws: list[bytes] = []
        room = MAX_BUNDLE - _HEAD
        for item in list(self.outbox):
            if not item.is_known(self.bit) and not is_over(item):
                if len(item.raw) + _EACH > room or len(raws) == MAX_BUNDLE_MESSAGES:
                    break
                room -= len(item.raw) + _EACH
                raws.append(item.raw)
                item.sent |= self.bit
            del self.outbox[item]
        if not raws:
            return None
        self.bundles += 1
        return encode(Bundle(self.bundles if self.peer == MESH else 0, tuple(raws)))


class Neighbours:
    """All neighbours, by name."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._busy: dict[Neighbour, None] = {}
        self._all: dict[str, Neighbour] = {}  # in the order of names: nothing depends on who came first
        self.mesh = Neighbour(MESH, b"", 1, self._busy)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self._all.values())

    def get(self, peer: str) -> Neighbour | None:
        return self.mesh if peer == MESH else self._all.get(peer)

    def up(self, peer: str, key: bytes) -> Neighbour:
        """A new neighbour with the lowest free bit."""
        taken, bit = {one.bit for one in self._all.values()}, 2
        while bit in taken:
            bit <<= 1
        found = Neighbour(peer, key, bit, self._busy)
        self._all = dict(sorted([*self._all.items(), (peer, found)]))
        return found

    def down(self, peer: str) -> int:
        """Forget a neighbour. Returns its bit, 0 where there is none."""
        gone = self._all.pop(peer, None)
        if gone is None:
            return 0
        self._busy.pop(gone, None)
        return gone.bit

    def keys(self) -> set[bytes]:
        return {one.key for one in self._all.values()}

    def ready(self, now: int) -> list[str]:
        """Who is due a frame now."""
        return sorted(one.peer for one in self._busy if now >= one.sent_ms + self._tick_ms)

    def due_ms(self) -> int | None:
        """When the next frame is due to somebody."""
        return min((one.sent_ms + self._tick_ms for one in self._busy), default=None)
