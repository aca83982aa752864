"""docs/commands.md says what the code does: its tables are made from the table of commands and the error types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p.base import errors
from p2p.base.errors import FolkmootError
from p2p.cli.commands import COMMANDS
from p2p.cli.exit_codes import exit_codes
from p2p.cli.main import main
from p2p.cli.reference import filled

PAGE = Path(__file__).parent.parent.parent / "docs" / "commands.md"


def test_the_page_is_as_the_code_makes_it() -> None:
    text = PAGE.read_text()
    assert filled(text) == text, "run: python -m p2p.cli.reference docs/commands.md"
    for row in COMMANDS:
        assert f"| `folkmoot {row.name}` |" in text


def test_every_error_type_has_its_row() -> None:
    known = {one.status for one in exit_codes()}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, FolkmootError) and kind is not FolkmootError:
            assert kind.exit_status in known, kind
    assert [one.status for one in exit_codes()] == sorted(known)


def test_help_prints_the_codes_and_the_topics(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "exit-codes"]) == 0
    shown = capsys.readouterr().out
    assert all(str(one.status) in shown for one in exit_codes())
    assert main(["help", "exit-codes", "--json"]) == 0
    assert [one["status"] for one in json.loads(capsys.readouterr().out)["exit_codes"]][:3] == [0, 1, 2]
    for topic in ("begin", "money", "peers", "host", "proofs", "environment", "json"):
        assert main(["help", topic]) == 0
        assert len(capsys.readouterr().out) > 300
    assert main(["help", "account", "transfer"]) == 0
    assert "folkmoot account transfer" in capsys.readouterr().out
    assert main(["help", "monye"]) == 2
    assert "did you mean money?" in capsys.readouterr().err
