"""Prints what a command found, for people or as JSON.

Law: one line a value, however long it is and whoever said it. All that is printed also passes machine/foreign_text.py.
On a terminal there are colours and tables that fit it; elsewhere the same words, plain and whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from p2p.cli.terminal.styled import Line, Span, look_of, put
from p2p.cli.terminal.table import table
from p2p.machine.foreign_text import line

MAX_VALUE = 4000  # characters of one value
MAX_NAME = 60
MAX_COLUMNS = 8  # of a table; a row with more fields is printed field by field
_STYLES = {  # of a value that says how something is
    **dict.fromkeys(("ready", "valid", "VALIDATED", "ok", "done", "paid", "holds"), "green"),
    **dict.fromkeys(("failed", "INVALID", "INVALIDATED", "FAILED", "refused", "dropped"), "red"),
    **dict.fromkeys(("joining", "loading", "EXPIRED", "UNCONFIRMED", "note", "waiting", "DISPUTED"), "yellow"),
}


def show(options: argparse.Namespace, data: Any, text: Callable[[], str | Sequence[Line]]) -> None:
    """Print `data` as JSON where --json is given, else what `text` makes for people."""
    if options.json:
        print(json.dumps(data))
        return
    found = text()
    if isinstance(found, str):
        print(found)
    else:
        put(sys.stdout, found)


def progress(options: argparse.Namespace) -> Callable[[str], None]:
    """Prints lines of progress on standard output; nothing where --json is given, whose output is the result alone."""

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    return say


def aligned(values: Mapping[str, Any], width: int) -> str:
    """NAME VALUE, one a line, with the values in one column."""
    return "\n".join(f"{name:{width}} {value}" for name, value in values.items())


def fields(values: Mapping[str, Any], width: int) -> list[Line]:
    """As `aligned`, with styles."""
    return [(Span(f"{name:{width}} ", "dim"), styled(_shown(value))) for name, value in values.items()]


def styled(text: str) -> Span:
    """A value, in the colour of what it says."""
    return Span(text, _STYLES.get(text, ""))


def readable(answer: Mapping[str, Any]) -> list[Line]:
    """An answer for people: aligned lines; a list is a table where its rows are alike and fit one, else it has one item
    a line; a map of maps has one inner map a line."""
    lines: list[Line] = []
    for key, value in answer.items():
        name = line(str(key), MAX_NAME)
        if isinstance(value, list):
            lines.append((Span(f"{name}:", "bold"), "" if value else " none"))
            lines += _rows(value)
        elif isinstance(value, dict) and value:
            lines.append((Span(f"{name}:", "bold"),))
            width = max(16, *(len(line(str(of), MAX_NAME)) for of in value))
            lines += [(Span(f"  {line(str(of), MAX_NAME):{width}} ", "dim"), _part(part)) for of, part in value.items()]
        else:
            lines.append((Span(f"{name:16} ", "dim"), styled(_shown(value))))
    return lines


def _part(value: Any) -> str | Span:
    return _row(value) if isinstance(value, dict) else styled(_shown(value))


def _rows(rows: list[Any]) -> list[Line]:
    if rows and not _is_table(rows) and all(isinstance(item, dict) for item in rows):
        return [(f"  {_row(item)}",) for item in rows]
    if not _is_table(rows):
        return [(f"  {_shown(item)}",) for item in rows]
    head = [line(str(key), MAX_NAME).replace("_", " ") for key in rows[0]]
    cells = [[styled(_shown(value)) for value in row.values()] for row in rows]
    columns = look_of(sys.stdout).columns - 2
    return [("  ", *row) for row in table(head, cells, columns)]


def _is_table(rows: list[Any]) -> bool:
    """Whether all rows have the same few fields, none of which has parts."""
    first = rows[0] if rows else None
    return isinstance(first, dict) and 0 < len(first) <= MAX_COLUMNS and all(
        isinstance(row, dict) and row.keys() == first.keys()
        and not any(isinstance(value, dict | list) for value in row.values()) for row in rows
    )


def _row(row: Mapping[str, Any]) -> str:
    """On one line, without what is empty."""
    return ", ".join(f"{line(key, MAX_NAME).replace('_', ' ')} {_shown(value)}" for key, value in row.items()
                     if value not in ("", None, [], (), {}))


def _shown(value: Any) -> str:
    """One value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("", None, [], (), {}):
        return "none"
    if isinstance(value, list | tuple) and not any(isinstance(one, dict | list | tuple) for one in value):
        return line(", ".join(map(_shown, value)), MAX_VALUE)
    return json.dumps(value) if isinstance(value, dict | list | tuple) else line(str(value), MAX_VALUE)
