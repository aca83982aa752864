"""Help as wide as a window: paragraphs are filled, the last column of a table hangs, commands stay on their line.

Law: pure. A line with two spaces inside is a row of a table; lines that begin further right than a paragraph are
commands.
"""

from __future__ import annotations

import re
import textwrap

PARAGRAPH = 2  # columns that a paragraph may begin with
LEAST = 20  # columns of a hanging column: with fewer it goes below
_ROW = re.compile(r"(\s*\S.*\S|\s*\S)\s{2,}(?=\S)|\s*\d+\. (?=\S)")  # the items of a list are rows too


def fit(text: str, columns: int) -> str:
    """The same words in lines of at most `columns`, but for commands."""
    found: list[str] = []
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        is_prose = bool(line.strip()) and _indent(line) <= PARAGRAPH and _ROW.match(line) is None
        if paragraph and not (is_prose and _indent(line) == _indent(paragraph[0])):
            found += _filled(" ".join(one.strip() for one in paragraph), columns, " " * _indent(paragraph[0]))
            paragraph = []
        if is_prose:
            paragraph.append(line)
        else:
            found += _row(line, columns)
    return "\n".join(found[:-1])


def _row(line: str, columns: int) -> list[str]:
    head = _ROW.match(line)
    if len(line) <= columns or head is None:
        return [line]
    begin, rest = line[: head.end()], line[head.end() :]
    if columns - len(begin) >= LEAST:
        return _filled(rest, columns, " " * len(begin), begin)
    return [begin.rstrip(), *_filled(rest, columns, " " * (_indent(line) + 4))]


def _filled(text: str, columns: int, hanging: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text, columns, initial_indent=hanging if first is None else first, subsequent_indent=hanging,
        break_long_words=False, break_on_hyphens=False,
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
