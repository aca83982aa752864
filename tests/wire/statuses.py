"""A peer's status, for tests of what is said of it."""

from __future__ import annotations

from typing import Any

from p2p.consensus.status import ConsensusStatus
from p2p.wire.answers.status import OwnerStatus, SprintStatus


def owner_status(node: bytes = bytes(32), **change: Any) -> OwnerStatus:
    """change: fields of OwnerStatus that follow the public ones."""
    consensus = ConsensusStatus(8, 0, "propose", True, "00" * 32, 100, 0, False, None, "")
    owners = {"ml_node": "", "said": "", "failures": (), **change}
    return OwnerStatus(
        "12D3Koo", node.hex(), "n", "ready", (), 0, 1, 7, True, "00" * 32, 1, 0, SprintStatus(0, -1, 0), consensus,
        **owners,
    )
