"""Settings for all tests.

Law: no test fails because of the time it takes, so a machine ten times busier gives the same answers.

Files that take minutes run first, so that with several workers the short ones fill the gaps at the end: longest
processing time first (Graham 1969), by kind: files that run a model, files that wait for live networks, files that
simulate many seeds, everything else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from p2p.inference.stack.instructions import without_tiles

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
without_tiles()


@pytest.fixture(autouse=True)
def logs_as_at_first() -> Iterator[None]:
    """A command that a test runs in this process sets the level of the log; the next test starts without it."""
    yield
    structlog.reset_defaults()


LONG = ("engine", "network")  # marks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort whole files in the order of LONG; the order within a file and within a kind does not change."""
    kinds: dict[str, int] = {}
    for item in items:
        kind = next(
            (at for at, mark in enumerate(LONG) if item.get_closest_marker(mark)),
            len(LONG) + ("/sim/" not in str(item.path)),
        )
        kinds[str(item.path)] = min(kind, kinds.get(str(item.path), kind))
    items.sort(key=lambda item: kinds[str(item.path)])
