"""Every mutant still has the line that it changes: one that has none would stop the whole run, or pass for killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.mutants import killing
from tests.tools.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def test_there_are_mutants() -> None:
    assert len(MUTANTS) > 170


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(MUTANTS)


@pytest.mark.parametrize("name", BY_NAME)
def test_its_line_is_there_once(name: str) -> None:
    one = BY_NAME[name]
    assert (ROOT / one.file).read_text().count(one.old) == 1
    assert one.old != one.new


def test_killers_are_of_mutants_that_exist() -> None:
    assert set(killing.remembered()) <= set(BY_NAME)


@pytest.mark.parametrize(("line", "test"), [
    ("FAILED tests/base/test_a.py::test_b - assert 1 == 2", "tests/base/test_a.py::test_b"),
    ("FAILED tests/base/test_a.py::test_b[x - y]", "tests/base/test_a.py::test_b[x - y]"),
    ("ERROR tests/base/test_a.py - ImportError: no", "tests/base/test_a.py"),
])
def test_the_test_that_failed_is_read_from_what_pytest_prints(line: str, test: str) -> None:
    found = killing.FAILED.search(f"...F\n{line}\n1 failed")
    assert found
    assert found[1] == test


def test_the_tests_named_after_a_file_are_found() -> None:
    assert "tests/consensus/test_vote_exchange.py" in killing.mirror("p2p/consensus/vote_exchange.py")
    assert killing.mirror("p2p/consensus/no_such_file.py") == []
