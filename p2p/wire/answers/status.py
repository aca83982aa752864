"""Answers about one peer: `status`, `peers`.

Law: PublicStatus is all that a stranger is told of a status; what is added to OwnerStatus is the owner's alone.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from p2p.consensus.status import ConsensusStatus
from p2p.gossip.connections.status import Ban, BudgetRow, Links, ReachStatus, TroubleRow
from p2p.machine.status import FailedPart
from p2p.wire.answers.fields import Amount, Height, Hex32, Name, Text, Word


class SprintStatus(Struct, frozen=True):
    """What the sprint runner says of itself."""

    answers: Amount  # made so far in the running sprint, 0 outside
    epoch: int  # of the last sprint that this peer took part in; -1: none
    committed: Amount  # answers it committed to in that one


class PublicStatus(Struct, frozen=True):
    peer_id: Name
    node: Hex32
    network: Name
    state: Word  # joining, loading, ready
    addresses: tuple[Name, ...]
    connections: Amount
    base: Height  # the first block that is here
    height: Height
    registered: bool
    app_hash: Hex32
    last_time_ms: int  # of the newest block
    jobs: Amount  # requests that run now
    sprint: SprintStatus
    consensus: ConsensusStatus


class OwnerStatus(PublicStatus, frozen=True):
    """What `folkmoot status` prints."""

    ml_node: Text  # its address, or the folder of the model; empty: none
    said: Text  # the last thing that was reported of the ML node
    failures: tuple[FailedPart, ...]
    # as in NetworkStatus; empty before the network is open
    budgets: dict[str, BudgetRow] = {}
    alone: Text = ""
    banned: tuple[Ban, ...] = ()
    refused_by: tuple[TroubleRow, ...] = ()
    troubles: tuple[TroubleRow, ...] = ()
    twin: Text = ""
    ended: dict[str, int] = {}
    links: Links | None = None
    gossip: dict[str, Any] = {}
    reach: ReachStatus | None = None


class ConnectedPeer(Struct, frozen=True):
    peer_id: Name


class HopsAnswer(Struct, frozen=True):
    """When an inference passed which step in this process, in nanoseconds of the machine's monotonic clock."""

    marks: dict[str, int]


class PeersAnswer(Struct, frozen=True):
    peers: tuple[ConnectedPeer, ...]
