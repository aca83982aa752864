"""Every mutant still has the line that it changes: one that has none would stop the whole run, or pass for killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import mutants

ROOT = Path(__file__).parents[2]
FOUND = {
    one.name: one for group in vars(mutants).values() if isinstance(group, tuple | list)
    for one in group if isinstance(one, mutants.Mutant)
}


def test_there_are_mutants() -> None:
    assert len(FOUND) > 90


@pytest.mark.parametrize("name", FOUND)
def test_its_line_is_there_once(name: str) -> None:
    one = FOUND[name]
    assert (ROOT / one.file).read_text().count(one.old) == 1
    assert one.old != one.new
