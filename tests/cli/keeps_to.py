"""Holds what a command printed with --json against the schema that ships."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from p2p.cli.help_command import schema
from p2p.cli.schema_files import LINES

STREAMS = {"ask", "chat", *LINES}


def keeps_to(words: str, text: str) -> Any:
    """The value, or the values, that `folkmoot WORDS --json` printed; each keeps to the schema."""
    found = schema(words)
    Draft202012Validator.check_schema(found)
    check = Draft202012Validator(found)
    values = [json.loads(line) for line in text.splitlines()]
    assert values, f"{words} printed nothing"
    for value in values:
        errors = [error.message for error in check.iter_errors(value)]
        assert errors == [], (words, value)
    if words not in STREAMS:
        assert len(values) == 1
    return values if words in STREAMS else values[0]
