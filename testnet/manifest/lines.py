"""Finds the line on which a value of a TOML file stands, so that an error can name it.

Law: it never fails; where a value cannot be found it names the table above it, and then the first line.
"""

from __future__ import annotations

import re
from collections import Counter

Path = tuple[str | int, ...]  # keys and indexes, such as ("peers", 1, "count")
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\-\"']+)\s*\]\]?")
_KEY = re.compile(r"\s*([\w\-]+|\"[^\"]*\"|'[^']*')\s*=")
_STEP = re.compile(r"\.?([\w\-]+)|\[(\d+|\.\.\.)\]")


def lines_of(text: str) -> dict[Path, int]:
    """Path of each table and key -> its line, from 1. Keys inside inline tables have their table's line."""
    found: dict[Path, int] = {(): 1}
    counts: Counter[Path] = Counter()
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            keys: Path = tuple(part.strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                table = (*keys, counts[keys])
                counts[keys] += 1
                found.setdefault(keys, number)
            else:
                last = counts[keys[:1]] - 1  # a table below the newest of an array
                table = (keys[0], last, *keys[1:]) if len(keys) > 1 and last >= 0 else keys
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, key[1].strip("\"'")), number)
    return found


def parse_path(text: str) -> Path:
    """`$.peers[1].count`, as msgspec writes it -> ("peers", 1, "count"). An index that it leaves out ends the path."""
    steps: list[str | int] = []
    for name, index in _STEP.findall(text.removeprefix("$")):
        if index == "...":
            break
        steps.append(int(index) if index else name)
    return tuple(steps)


def line_of(text: str, path: Path) -> int:
    """The line of the value at `path`, or of the nearest table above it."""
    lines = lines_of(text)
    return next(lines[path[:size]] for size in range(len(path), -1, -1) if path[:size] in lines)
