"""Whether this peer takes new work. Law: what was begun is never refused; every refusal says why, and what to do.

Two things close the intake: the peer drains before it ends (draining.py), or its store was restored from a backup and
the network has not shown yet that it is safe to sign (restored.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.base.errors import Unavailable


def _open() -> str:
    return ""


@dataclass(slots=True)
class Intake:
    """One per peer."""

    drains: bool = False
    restored: Callable[[], str] = _open  # why a restored peer waits; empty: it does not

    @property
    def closed(self) -> str:
        """Why nothing new is taken; empty: it is."""
        return "this peer ends soon and takes nothing new; ask another" if self.drains else self.restored()

    def check(self, field: str) -> None:
        """Raises Unavailable while nothing new is taken."""
        if said := self.closed:
            raise Unavailable(said, field=field)
