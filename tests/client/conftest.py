"""Fixtures of a client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.liar import Liar


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Liar]:
    """A peer with a true chain."""
    made = Liar(tmp_path)
    yield made
    made.chain.close()
