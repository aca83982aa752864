"""Every planted fault still has the line that it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.mutants.table import Mutant
from tests.tools.random_networks import FAULTS, with_fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_line_of_a_copy(fault: Mutant, tmp_path: Path) -> None:
    source = with_fault(fault, tmp_path / "source")
    assert fault.new in (source / fault.file).read_text()
    compile((source / fault.file).read_text(), fault.file, "exec")
