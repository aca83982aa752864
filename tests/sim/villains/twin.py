"""Two instances with one key, each with a memory of its own: what a copied key file does. The scenario starts two
of these."""

from __future__ import annotations

from tests.sim.villains.base import Villain


class Twin(Villain):
    """Behaves honestly by itself; the fault is that there are two."""
