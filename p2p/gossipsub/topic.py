"""A joined topic and its mesh.

Law: whoever changes a mesh, a subscription or a wish clears `receivers`; they are chosen again when a message goes out.
The wanted are preferred, but not more of them than a mesh has members: each gets a message from several others.
"""

from __future__ import annotations

from p2p.gossipsub.lot import Lot
from p2p.gossipsub.neighbour import Neighbour
from p2p.gossipsub.neighbours import Neighbours
from p2p.gossipsub.params import Params, Priority
from p2p.gossipsub.rpc import id_prefix


class Topic:
    """One topic that this peer is on."""

    __slots__ = ("_degree", "_rng", "came", "came_bytes", "mesh", "name", "prefix", "priority", "receivers", "window")

    def __init__(self, name: str, params: Params, rng: Lot) -> None:
        self._rng, self._degree = rng, params.degree
        self.name = name
        self.prefix = id_prefix(name)  # of its messages' ids
        self.priority = params.priorities.get(name, Priority.TRANSACTIONS)
        score = params.score.topics.get(name)
        counts = score and (score.mesh_message_deliveries_weight or score.mesh_failure_penalty_weight)
        # seconds after the first copy in which another one counts for its sender (P3, P3b); below 0 where none does
        self.window = score.mesh_message_deliveries_window if score and counts else -1.0
        self.mesh: dict[str, Neighbour] = {}
        self.receivers: list[Neighbour] | None = None
        self.came = 0  # messages, copies too, since it was joined
        self.came_bytes = 0  # of these

    def add(self, one: Neighbour) -> None:
        """It enters the mesh."""
        self.mesh[one.name] = one
        self.receivers = None

    def remove(self, one: Neighbour) -> bool:
        """It leaves the mesh. False: it was not there."""
        self.receivers = None
        return self.mesh.pop(one.name, None) is not None

    def lacks_wanted(self) -> int:
        """How many wanted neighbours more a mesh takes in for being wanted: there are at most D."""
        return max(0, self._degree - sum(one.wanted for one in self.mesh.values()))

    def forward_to(self, neighbours: Neighbours) -> list[Neighbour]:
        """Who gets what is forwarded: the mesh, and where it has fewer than D wanted members, others by lot."""
        if self.receivers is None:
            wanted = [one for one in neighbours.on(self.name) if one.wanted and one.name not in self.mesh]
            more = self._rng.sample(wanted, min(len(wanted), self.lacks_wanted()))
            self.receivers = [*self.mesh.values(), *more]
        return self.receivers
