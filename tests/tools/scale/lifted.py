"""Bounds of the tree raised for one process, so that sizes above them can be measured.

Law: call it before anything else of p2p is imported, in a process of its own: types bake their bounds in when they are
made. Nothing but the number changes: every check still runs.
"""

from __future__ import annotations

import sys

from p2p.base import limits


def lift_validators(count: int) -> None:
    """A simulated network may have so many validators."""
    assert "p2p.consensus.messages" not in sys.modules, "its types have the bounds of before"
    limits.MAX_VALIDATORS = max(limits.MAX_VALIDATORS, count)  # type: ignore[misc]
    limits.MAX_BUNDLE_MESSAGES = 2 * limits.MAX_VALIDATORS  # type: ignore[misc]
    from tests.sim import scenario  # it imports the consensus

    scenario.MAX_PEERS = max(scenario.MAX_PEERS, count)


def lift_participants(count: int) -> None:
    """A ledger may have so many participants."""
    assert "p2p.ledger.participants.serving" not in sys.modules, "its types have the bound of before"
    from p2p.ledger.participants import places

    places.MAX_PARTICIPANTS = max(places.MAX_PARTICIPANTS, count)
