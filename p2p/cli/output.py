"""Prints what a command found, for people or as JSON.

Law: one line a value, however long it is and whoever said it. All that is printed also passes machine/foreign_text.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from p2p.machine.foreign_text import line

MAX_VALUE = 4000  # characters of one value
MAX_NAME = 60


def show(options: argparse.Namespace, data: Any, text: Callable[[], str]) -> None:
    """Print `data` as JSON where --json is given, else what `text` makes for people."""
    print(json.dumps(data) if options.json else text())


def progress(options: argparse.Namespace) -> Callable[[str], None]:
    """Prints lines of progress on standard output; nothing where --json is given, whose output is the result alone."""

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    return say


def aligned(values: Mapping[str, Any], width: int) -> str:
    """NAME VALUE, one a line, with the values in one column."""
    return "\n".join(f"{name:{width}} {value}" for name, value in values.items())


def readable(answer: Mapping[str, Any]) -> str:
    """An answer for people: aligned lines; a list has one item a line, a map of maps one inner map a line."""
    lines = []
    for key, value in answer.items():
        name = line(str(key), MAX_NAME)
        if isinstance(value, list):
            lines.append(f"{name}:" + ("" if value else " none"))
            lines += [f"  {_shown(item)}" for item in value]
        elif isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
            lines.append(f"{name}:")
            lines += [f"  {line(str(of), MAX_NAME):16} {_row(row)}" for of, row in value.items()]
        else:
            lines.append(f"{name:16} {_shown(value)}")
    return "\n".join(lines)


def _row(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{line(key, MAX_NAME).replace('_', ' ')} {_shown(value)}" for key, value in row.items())


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else line(str(value), MAX_VALUE)
