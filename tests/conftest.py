"""Settings for all tests. Law: no test fails for the time it took, so a machine ten times busier gives the same answers.

Files that take minutes come first: with several workers the short ones then fill the gaps at the end. Longest processing time first
(Graham 1969), by kind: a model is run, then live networks are waited for, then seeds are played, then everything else.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from p2p.inference.stack.instructions import without_tiles

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
without_tiles()

LONG = ("engine", "network")  # marks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files, in the order of LONG; within a file and a kind the order stays."""
    kinds: dict[str, int] = {}
    for item in items:
        kind = next((at for at, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG) + ("/sim/" not in str(item.path)))
        kinds[str(item.path)] = min(kind, kinds.get(str(item.path), kind))
    items.sort(key=lambda item: kinds[str(item.path)])
