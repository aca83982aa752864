"""Text that may be the beginning of a marker.

Law: what is held back is a beginning of the marker, and nothing that could be one is let go.
"""

from __future__ import annotations

from collections.abc import Iterator

_PORTION = 4096  # characters that a parser looks at together


def portions(text: str) -> Iterator[str]:
    """`text` in parts, so that a parser that cuts off what it has read stays linear."""
    return (text[at : at + _PORTION] for at in range(0, len(text), _PORTION))


def split_at(text: str, marker: str) -> tuple[str, str | None]:
    """(what stands before the marker, what stands after it); (what certainly is no part of a marker, None) where there
    is none yet. The rest of `text` then is the beginning of one."""
    before, found, after = text.partition(marker)
    if found:
        return before, after
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:size]):
            return text[:-size], None
    return text, None
