"""Calls as Llama 3 writes them: the answer is {"name": "f", "parameters": {...}}, or several such with `;` between.

Law: an answer that begins with a call consists of calls up to the first text that is none; any other answer is content.
Linear in the text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p.base.body import Grammar, Tool
from p2p.text.tool_formats.call_reader import CallReader
from p2p.text.tool_formats.grammar import one_call
from p2p.text.tool_formats.held_text import portions
from p2p.text.tool_formats.pieces import Content, Piece, ToolFormat

_MARKER = "<|python_tag|>"  # some models begin with it
_MAX_BLANKS = 64  # characters before the first call; an answer of blanks is content


class Llama3JsonParser:
    """See pieces.Parser. An answer in JSON that only looks like a call is one, unless `names` says otherwise."""

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self._held = ""  # before a call that may come
        self._call: CallReader | None = None
        self._called = self._plain = False  # there was a call; all the rest is content

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        for portion in portions(text):
            self._held += portion
            while self._held and (self._read_call(self._call, pieces) if self._call else self._read_text(pieces)):
                pass
        return pieces

    def finish(self) -> list[Piece]:
        pieces: list[Piece] = []
        rest = self._held
        if self._call is not None:
            pieces += self._call.finish()
            rest = self._call.raw if self._call.broken else ""
        self._held, self._call = "", None
        return [*pieces, Content(rest)] if rest else pieces

    def _read_text(self, pieces: list[Piece]) -> bool:
        """Whether there is more to read."""
        if self._plain:
            pieces.append(Content(self._held))
            self._held = ""
            return False
        if self._called:
            bare = self._held = self._held.lstrip(" \t\r\n;")
        else:
            bare = self._held.lstrip()
            if bare != _MARKER and _MARKER.startswith(bare) and len(self._held) < _MAX_BLANKS:
                return False
            bare = bare.removeprefix(_MARKER).lstrip()
        if not bare and len(self._held) < _MAX_BLANKS:
            return False
        if bare.startswith("{"):
            self._held, self._call = bare, CallReader(self._names)
        else:
            self._plain = True
        return True

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        found, self._held = call.feed(self._held)
        pieces += found
        if call.broken:
            pieces.append(Content(call.raw))
            self._call, self._plain = None, True
        if call.done:
            self._call, self._called = None, True
        return call.broken or call.done


def _grammar(tools: Sequence[Tool], names: Collection[str] = ()) -> Grammar:
    return one_call(tools, names, before="", key="parameters", after="")


def _guess(template: str) -> bool:
    return _MARKER in template or ('"parameters": ' in template and "<|start_header_id|>" in template)


LLAMA3_JSON = ToolFormat("llama3_json", (_MARKER,), Llama3JsonParser, _grammar, _guess)
