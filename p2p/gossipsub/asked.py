"""Messages that we asked for and that have not come, with the neighbours that offered them.

Law: what is remembered is bounded in number and in heartbeats, and one that came is forgotten at once.
"""

from __future__ import annotations

from p2p.base.limits import MAX_ASKED, MAX_OFFERERS


class Asked:
    """Message ids, the oldest first."""

    __slots__ = ("_heartbeats", "_open")

    def __init__(self, heartbeats: int) -> None:
        """heartbeats: for which a message is asked for again."""
        self._heartbeats = heartbeats
        self._open: dict[bytes, tuple[list[str], int, float]] = {}  # id -> offerers, heartbeats left, first asked when

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, id_: bytes, offerer: str, now: float) -> None:
        """We ask a neighbour for a message. Where too many are open, a new one is not remembered."""
        known = self._open.get(id_)
        if known is None:
            if len(self._open) < MAX_ASKED:
                self._open[id_] = [offerer], self._heartbeats, now
        elif offerer not in known[0] and len(known[0]) < MAX_OFFERERS:
            known[0].append(offerer)

    def came(self, id_: bytes) -> None:
        """The message has come, from whomever."""
        self._open.pop(id_, None)

    def overdue(self, since: float) -> list[tuple[bytes, list[str]]]:
        """At a heartbeat: what was asked for before `since` and has not come, with its offerers. Each is named in so
        many heartbeats at most and then forgotten."""
        found = [(id_, offerers) for id_, (offerers, _, at) in self._open.items() if at <= since]
        for id_, offerers in found:
            _, left, at = self._open[id_]
            if left > 1:
                self._open[id_] = offerers, left - 1, at
            else:
                del self._open[id_]
        return found
