"""Warns the operator once of each answer of this peer that lost a dispute.

Law: it only warns; a human decides whether to appeal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from p2p.chain.chain import Chain

log = structlog.get_logger()


@dataclass(slots=True)
class DisputeAlerts:
    """One per peer. After a restart it warns again of disputes that are still open."""

    chain: Chain
    node: bytes  # this peer's key
    _told: set[str] = field(default_factory=set)  # ids of inferences

    def look(self) -> None:
        """Called after each height."""
        open_now = self.chain.reader.open_dispute_rows(self.node)
        for dispute in open_now:
            if dispute.id not in self._told and not dispute.appealed:
                log.warning(
                    "an answer of this peer lost a dispute; its owner may appeal", inference=dispute.id,
                    until=dispute.until, reason=dispute.reason, bond_micro=dispute.bond_micro,
                    command=f"folkmoot account appeal {dispute.id}",
                )
        self._told = {dispute.id for dispute in open_now}
