"""What becomes of a gossiped message. Law: three outcomes, never two: what cannot be judged here is nobody's fault and nobody's news.

The three results of a topic validator in libp2p's gossipsub v1.1 (accept, ignore, reject).
"""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """ACCEPT: right, and news here: handed on. IGNORE: it cannot be judged here, or is no news: not handed on, not remembered as judged,
    costs nobody anything. REJECT: wrong for everybody who looks: not handed on, costs its forwarder points."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"
