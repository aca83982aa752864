"""A World fills the registry by a smaller limit. Law: no test leaves it behind for others in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest


@pytest.fixture(autouse=True)
def limits_as_they_were() -> Iterator[None]:
    yield
    patch.stopall()
