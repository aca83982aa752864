"""How many columns a text takes on a terminal. Law: pure; nothing is cut in the middle of a character that is drawn.

Wide characters (Chinese, Japanese, Korean, emoji) take two columns; marks that combine with the character before, and
joiners, take none. Escape sequences are not expected here: text is cleaned before (machine/foreign_text.py).
"""

from __future__ import annotations

import unicodedata

ELLIPSIS = "\u2026"
_EMOJI = "\ufe0f"  # makes the sign before it an emoji, two columns wide
_JOINER = "\u200d"


def width_of(text: str) -> int:
    """Columns of `text`, which has no line end."""
    return len(text) if text.isascii() else sum(columns for _, columns in _drawn(text))


def _drawn(text: str) -> list[tuple[str, int]]:
    """(what is drawn in one place, its columns): a character with all that combines with it."""
    found: list[tuple[str, int]] = []
    joined = False
    for sign in text:
        if found and (joined or sign in (_EMOJI, _JOINER) or unicodedata.category(sign) in ("Mn", "Me", "Cf")):
            before, columns = found[-1]
            found[-1] = before + sign, 2 if sign == _EMOJI else columns
        else:
            found.append((sign, 2 if unicodedata.east_asian_width(sign) in "WF" else 1))
        joined = sign == _JOINER
    return found


def cut(text: str, columns: int) -> str:
    """`text` in at most `columns` columns; what does not fit is replaced by one sign."""
    if width_of(text) <= columns:
        return text
    if columns <= 0:
        return ""
    return _begin(text, columns - 1) + ELLIPSIS


def cut_middle(text: str, columns: int) -> str:
    """As `cut`, but the end stays too: for ids and addresses."""
    if width_of(text) <= columns or columns < 8 or not text.isascii():
        return cut(text, columns)
    head = (columns - 1) // 2
    return text[:head] + ELLIPSIS + text[len(text) - (columns - 1 - head) :]


def _begin(text: str, columns: int) -> str:
    taken, used = "", 0
    for drawn, wide in _drawn(text):
        if used + wide > columns:
            break
        taken, used = taken + drawn, used + wide
    return taken


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """`text` in exactly `columns` columns where it fits. right: its end is aligned."""
    blanks = " " * max(0, columns - width_of(text))
    return blanks + text if right else text + blanks
