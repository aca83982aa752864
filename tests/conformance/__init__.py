"""Outside vectors against this implementation: `python -m tests.conformance DIR`. One file per family; each yields
named cases."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT = Path(__file__).parent.parent.parent.parent / "shared" / "vectors"


def folder() -> Path:
    """FOLKMOOT_VECTORS, or the folder next to the project."""
    return Path(os.environ.get("FOLKMOOT_VECTORS") or DEFAULT)
