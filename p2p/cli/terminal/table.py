"""Tables. Law: pure; columns fit the width where there is one, and nothing is cut where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.cli.terminal.styled import UNLIMITED, Line, Span
from p2p.cli.terminal.width import cut_middle, pad, width_of

GAP = 2  # columns between two columns
_LEAST = 8  # columns that a column keeps


def table(head: Sequence[str], rows: Sequence[Sequence[str | Span]], columns: int = UNLIMITED) -> list[Line]:
    """A heading and one line a row. Columns whose cells are all numbers are aligned at their end."""
    cells = [[cell if isinstance(cell, Span) else Span(cell) for cell in row] for row in rows]
    numbers = [bool(cells) and all(_is_number(row[at].text) for row in cells) for at in range(len(head))]
    widths = [max(width_of(text) for text in (head[at], *(row[at].text for row in cells))) for at in range(len(head))]
    widths = _fitted(widths, columns)
    lines = [_line([Span(text, "bold") for text in head], widths, numbers)]
    return lines + [_line(row, widths, numbers) for row in cells]


def _fitted(widths: list[int], columns: int) -> list[int]:
    """The widest columns give way first."""
    over = sum(widths) + GAP * (len(widths) - 1) - columns
    fitted = list(widths)
    while over > 0 and max(fitted) > _LEAST:
        at = fitted.index(max(fitted))
        others = [width for place, width in enumerate(fitted) if place != at]
        least = max(_LEAST, max(others, default=0) - 1)
        taken = min(over, max(1, fitted[at] - least))
        fitted[at] -= taken
        over -= taken
    return fitted


def _line(cells: Sequence[Span], widths: Sequence[int], numbers: Sequence[bool]) -> Line:
    shown: list[Span | str] = []
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = pad(cut_middle(cell.text, width), width, right=numbers[at])
        last = at == len(widths) - 1
        shown += [Span(text.rstrip() if last else text, cell.style), *([] if last else [" " * GAP])]
    return tuple(shown)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or text in ("", "-")
