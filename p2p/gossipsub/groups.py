"""Which peers share an address group, as a stand-in for the IP colocation of gossipsub v1.1 (P6).

Law: a group without peers is not remembered.

- SCORE-6: P6 is the squared surplus of peers in the neighbour's address group. Disconnected ones with a retained score
  count. The empty group (this machine) and those on the whitelist have no surplus.
"""

from __future__ import annotations

from collections.abc import Set


class Groups:
    """Group -> its peers."""

    __slots__ = ("_exempt", "_members", "_threshold")

    def __init__(self, threshold: int, exempt: Set[str]) -> None:
        """threshold: peers of one group without a surplus. exempt: groups that never have one."""
        self._threshold = threshold
        self._exempt = exempt
        self._members: dict[str, set[str]] = {}

    def enter(self, peer: str, group: str) -> None:
        """`peer` is in `group`, and in no other: the caller takes it out of the old one."""
        self._members.setdefault(group, set()).add(peer)

    def leave(self, peer: str, group: str) -> None:
        """`peer` is no longer in `group`."""
        members = self._members[group]
        members.discard(peer)
        if not members:
            del self._members[group]

    def members(self, group: str) -> Set[str]:
        """The peers of `group`."""
        return self._members.get(group, frozenset())

    def surplus(self, group: str) -> int:
        """Peers of `group` above the threshold."""
        if not group or group in self._exempt:
            return 0
        return max(0, len(self.members(group)) - self._threshold)
