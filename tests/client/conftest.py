"""Fixtures of a client's tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.client.liar import Liar
from tests.client.stops import SimpleFinder


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Liar]:
    """A peer with a true chain."""
    made = Liar(tmp_path)
    yield made
    made.chain.close()


@pytest.fixture
def stop_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finder of stop strings, or a simple one while the room `text` is not there."""
    if importlib.util.find_spec("p2p.text") is None or importlib.util.find_spec("p2p.text.stop") is None:
        room, file = ModuleType("p2p.text"), ModuleType("p2p.text.stop")
        file.StopFinder = SimpleFinder  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "p2p.text", room)
        monkeypatch.setitem(sys.modules, "p2p.text.stop", file)
