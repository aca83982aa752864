"""The three results of a topic validator in gossipsub v1.1 (libp2p specification): accept, ignore, reject.

Law: a message that cannot be judged here is ignored; it is neither forwarded nor held against anybody.
"""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """What happens to a gossiped message."""

    ACCEPT = "accept"  # right and new: it is forwarded
    IGNORE = "ignore"  # cannot be judged here, or is not new: not forwarded, not remembered as judged, no penalty
    REJECT = "reject"  # wrong for every peer that looks at it: not forwarded, and its forwarder gets penalty points
