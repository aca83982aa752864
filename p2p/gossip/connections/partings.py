"""Counts why connections ended.

Law: every connection that ends has one reason, logged and counted; `status` shows the counts.

PARTING-1: whoever ends a connection says why before it does. A connection that ends without a word was ended by the
other side, or the way to it broke: that is LOST.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum

log = logging.getLogger(__name__)


class Why(StrEnum):
    """Kinds of ends."""

    LOST = "lost"  # the other side closed it, or the way to it broke
    SILENT = "silent"  # nothing came for SILENT_S although this process was on time (PULSE-2)
    MUTE = "mute"  # it never greeted
    BANNED = "banned"  # it had too many penalty points
    OVERLOAD = "overload"  # reading what it sends took more CPU than its share
    UNREAD = "unread"  # it sent more than anybody read, or did not read what waited for it
    FULL = "full"  # it made room for another one
    REFUSED = "refused"  # one side refused the other: another network, version, or a Goodbye
    REPLACED = "replaced"  # a newer one to the same peer took its place: both had dialled
    ASKED = "asked"  # our caller ended it


class Partings:
    """The ends of one host's connections."""

    __slots__ = ("_said", "counts")

    def __init__(self) -> None:
        self._said: dict[str, tuple[Why, str]] = {}  # connections that are about to end
        self.counts: Counter[Why] = Counter()

    def say(self, peer: str, why: Why, words: str = "") -> None:
        """The connection to `peer` is about to end. The first reason counts."""
        self._said.setdefault(peer, (why, words))

    def ended(self, peer: str) -> Why:
        """The connection to `peer` is gone."""
        why, words = self._said.pop(peer, (Why.LOST, ""))
        self.counts[why] += 1
        log.info("the connection to %s ended: %s%s", peer, why.value, f" ({words})" if words else "")
        return why

    def forget(self, linked: set[str]) -> None:
        """Forget what was said of peers that were never seen in `linked`, so nothing is remembered of strangers."""
        for peer in [peer for peer in self._said if peer not in linked]:
            del self._said[peer]

    def status(self) -> dict[str, int]:
        """Kind -> number, since the start."""
        return {why.value: self.counts[why] for why in Why if self.counts[why]}
