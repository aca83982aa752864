"""A gossipsub router without I/O, clock or randomness of its own (libp2p specification, v1.1, and IDONTWANT of v1.2).

Law: the same calls give the same answers. `now` is in seconds and never goes back; `rng` is the caller's.
"""

from __future__ import annotations

from collections.abc import Set
from random import Random
from typing import Any

from p2p.base.outcome import Outcome
from p2p.gossipsub.params import Params
from p2p.gossipsub.rpc import Delivery, PeerInfo, Rpc, Version

__all__ = ["Delivery", "Router"]


class Router:
    """One peer's part in gossip: `receive` what a neighbour sent, `judge` what is new, `take` what is due to each."""

    def __init__(self, params: Params, rng: Random, *, me: str) -> None:
        """me: this peer's id."""
        raise NotImplementedError

    # -- topics

    def join(self, topic: str, now: float) -> None:
        """Subscribe, and graft peers that are on the topic."""
        raise NotImplementedError

    def leave(self, topic: str, now: float) -> None:
        """Unsubscribe, and prune the topic's mesh."""
        raise NotImplementedError

    # -- neighbours

    def add_peer(self, peer: str, *, version: Version, outbound: bool, group: str, now: float) -> None:
        """A neighbour can be written to. outbound: we dialled it. group: its address group, "" for none. Adding a known
        neighbour again changes nothing but these."""
        raise NotImplementedError

    def remove_peer(self, peer: str, now: float) -> None:
        """It is gone. Its score and its back-offs are remembered. Unknown peers are no error, here and below."""
        raise NotImplementedError

    def wants(self, peer: str, wanted: bool) -> None:
        """Whether `peer` gets every message of its topics, in the mesh or not, and keeps its place there."""
        raise NotImplementedError

    def app_score(self, peer: str, points: float) -> None:
        """Set the application's part of its score (P5)."""
        raise NotImplementedError

    def describe(self, peer: str, info: PeerInfo) -> None:
        """What PRUNEs may tell others about a neighbour. One that is never described is never named to others."""
        raise NotImplementedError

    # -- messages

    def receive(self, peer: str, rpc: Rpc, now: float) -> list[Delivery]:
        """Take in what a neighbour sent. Returns the new messages of joined topics; each waits for `judge`."""
        raise NotImplementedError

    def judge(self, id: bytes, outcome: Outcome, now: float) -> None:
        """The fate of a delivered message. ACCEPT: forwarded. IGNORE: forgotten. REJECT: all who sent it lose."""
        raise NotImplementedError

    def publish(self, topic: str, data: bytes, now: float) -> bytes:
        """Send a message of our own. Returns its id. What was published before is sent again."""
        raise NotImplementedError

    def heartbeat(self, now: float) -> None:
        """Upkeep of meshes, gossip, caches and scores; once in `params.heartbeat_s`."""
        raise NotImplementedError

    # -- what is to be sent, and to be done

    def due(self) -> Set[str]:
        """Neighbours for which something waits. A live view: copy it before taking."""
        raise NotImplementedError

    def take(self, peer: str, most_bytes: int) -> Rpc | None:
        """What waits for a neighbour, the most important first, as one RPC of about `most_bytes` of content at most
        (one larger message comes alone). None: nothing waits, or nobody has this name. Call it again while `due`."""
        raise NotImplementedError

    def stalled(self) -> list[str]:
        """Neighbours that do not read, taken: even votes no longer fit their queues. Nothing more is queued for them;
        the caller ends their connections."""
        raise NotImplementedError

    def offers(self) -> list[PeerInfo]:
        """Peers to dial that trusted neighbours named in PRUNEs, taken."""
        raise NotImplementedError

    def score(self, peer: str) -> float:
        """A neighbour's score as of the last heartbeat or penalty; 0 for an unknown one."""
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """For `folkmoot status`: meshes, queues, what was shed, sizes of the caches."""
        raise NotImplementedError
