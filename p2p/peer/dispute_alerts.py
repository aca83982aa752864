"""Tells this peer's operator of each answer of its own that lost a dispute, once. Law: it only tells; whether to appeal is for a human to decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from p2p.chain.chain import Chain

log = structlog.get_logger()


@dataclass(slots=True)
class CaseLog:
    """node: this peer's key. After a restart what is still open is told again."""

    chain: Chain
    node: bytes
    _told: set[str] = field(default_factory=set)

    def look(self) -> None:
        """After each height."""
        open_now = self.chain.reader.open_cases(self.node)
        for case in open_now:
            if case["id"] not in self._told and not case["appealed"]:
                log.warning(
                    "an answer of this peer lost a dispute; its owner may appeal", inference=case["id"], until=case["until"],
                    reason=case["reason"], bond_micro=case["bond_micro"], order=f"folkmoot account appeal {case['id']}",
                )
        self._told = {case["id"] for case in open_now}
