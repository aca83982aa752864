"""Separates an answer's text from the calls of tools in it, as it comes. Law: pure; nothing is lost, and what was given
out stands: whoever joins the pieces has the same answer as whoever waits for its end.

White space before, between and after calls belongs to the format and is left out where the answer has calls.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from p2p.gateway.core.backend import CallReader
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Failed, Piece, Reason, Said, Started

_Read = Said | CallBegin | CallDelta | CallEnd


def new_call_id() -> str:
    """An id for a call, which its result will name."""
    return f"call_{secrets.token_hex(12)}"


class Answering:
    """One answer on its way."""

    def __init__(
        self, reader: CallReader | None, *, one_call: bool = False, new_id: Callable[[], str] = new_call_id,
    ) -> None:
        """reader: None where no tool may be called. one_call: what follows the first call is left out."""
        self._reader = reader
        self._one_call = one_call
        self._new_id = new_id
        self._calls = 0  # that have begun
        self._open = False  # whether a call is on its way
        self._blank = ""  # white space that waits for what follows it
        self._is_after_call = False  # whether no text has come since the last call

    def feed(self, piece: Started | Said | Ended | Failed) -> list[Piece]:
        """What the piece becomes."""
        if self._reader is None or isinstance(piece, Started | Failed):
            return [piece]
        if isinstance(piece, Said):
            found = self._read(self._reader.feed(piece.text)) if piece.text else []
            return [*found, Said("", piece.rows)] if piece.rows else found
        found = self._read(self._reader.end())
        if self._open:  # the answer ended in the middle of a call
            self._open = False
            found.append(CallEnd(self._calls - 1, is_cut=True))
        if self._blank and not self._calls:
            found.append(Said(self._blank))
        reason = Reason.CALLS if self._calls and piece.reason is Reason.STOP else piece.reason
        return [*found, Ended(reason, piece.usage, piece.stop)]

    def _read(self, pieces: Iterable[_Read]) -> list[Piece]:
        return [one for piece in pieces for one in self._one(piece)]

    def _one(self, piece: _Read) -> list[Piece]:
        if self._one_call and self._calls and not self._open:
            return []
        if isinstance(piece, CallBegin):
            self._calls, self._open = self._calls + 1, True
            return [CallBegin(self._calls - 1, self._new_id(), piece.name)]
        if isinstance(piece, CallDelta):
            return [CallDelta(self._calls - 1, piece.arguments)] if piece.arguments else []
        if isinstance(piece, CallEnd):
            self._open, self._is_after_call = False, True
            return [CallEnd(self._calls - 1)]
        text = self._blank + piece.text
        if self._is_after_call:
            text = text.lstrip()
        if not text.strip():
            self._blank = text
            return []
        self._is_after_call = False
        kept = len(text.rstrip())
        self._blank = text[kept:]
        return [Said(text[:kept])]
