"""Lines with styles, and what a stream can show of them.

Law: a colour is an escape sequence of ours around text that was cleaned first, so that no text of others can bring its
own. Without colour the same lines are plain.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TextIO

from p2p.cli.terminal.width import cut, width_of
from p2p.machine.foreign_text import Guarded, line

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "on": "7"}
UNLIMITED = 1 << 20  # columns of what is no terminal


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: str = ""  # a name of _CODES, or several with blanks; empty: plain


Line = tuple["Span | str", ...]


class Look(NamedTuple):
    """What a stream shows."""

    terminal: bool
    colour: bool
    columns: int


def look_of(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Look:
    """NO_COLOR switches colours off, FORCE_COLOR on; else they are for terminals, unless TERM says dumb."""
    try:
        terminal = stream.isatty()
    except (AttributeError, ValueError):  # closed
        terminal = False
    colour = terminal and environment.get("TERM") != "dumb"
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        colour = True
    if environment.get("NO_COLOR"):
        colour = False
    return Look(terminal, colour, shutil.get_terminal_size().columns if terminal else UNLIMITED)


def spans_of(found: Line) -> list[Span]:
    return [Span(part) if isinstance(part, str) else part for part in found]


def plain(found: Line) -> str:
    """The line without styles."""
    return "".join(span.text for span in spans_of(found))


def render(found: Line, look: Look) -> str:
    """One line for a stream that looks so, no wider than it is: every text cleaned, then styled."""
    shown, left = [], look.columns
    for span in spans_of(found):
        text = cut(line(span.text, UNLIMITED), left) if left < UNLIMITED else line(span.text, UNLIMITED)
        left -= width_of(text) if left < UNLIMITED else 0
        codes = ";".join(_CODES[name] for name in span.style.split()) if look.colour else ""
        shown.append(f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text)
        if left <= 0:
            break
    return "".join(shown)


def put(stream: TextIO | Any, lines: Iterable[Line], look: Look | None = None) -> None:
    """Write lines with their styles, as far as the stream shows them. Long lines wrap there as the terminal does."""
    seen = (look or look_of(stream))._replace(columns=UNLIMITED)
    text = "".join(render(one, seen) + "\n" for one in lines)
    write = stream.uncleaned if isinstance(stream, Guarded) else stream.write
    write(text)
