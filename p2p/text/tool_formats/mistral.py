"""Calls as older models of Mistral write them: [TOOL_CALLS] [{"name": "f", "arguments": {...}}].

Law: the list after the marker is calls up to the first thing that is none; everything else is content.
Linear in the text.

Later models (their tokenizer's version 11) write `[TOOL_CALLS]f[ARGS]{}`, which is another format.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p.base.body import Grammar, Tool
from p2p.text.tool_formats.call_reader import CallReader
from p2p.text.tool_formats.grammar import one_call
from p2p.text.tool_formats.held_text import portions, split_at
from p2p.text.tool_formats.pieces import Content, Piece, ToolFormat

_MARKER = "[TOOL_CALLS]"
_MAX_BETWEEN = 64  # characters between two calls


class MistralParser:
    """See pieces.Parser."""

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self._held = ""
        self._list = False  # the marker was read
        self._between = ""  # what was read of the list since its last call: content, if no call follows
        self._opened = self._called = False  # its bracket was read; a call was
        self._call: CallReader | None = None

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        for portion in portions(text):
            self._held += portion
            while self._held and self._read(pieces):
                pass
        return pieces

    def finish(self) -> list[Piece]:
        pieces: list[Piece] = []
        rest = self._between + self._held
        if self._call is not None:
            pieces += self._call.finish()
            rest = self._between + self._call.raw if self._call.broken else ""
        elif self._called and not rest.strip(" \t\r\n,"):
            rest = ""
        self._held, self._between, self._call, self._list = "", "", None, False
        return [*pieces, Content(rest)] if rest else pieces

    def _read(self, pieces: list[Piece]) -> bool:
        """Whether there is more to read."""
        if self._call is not None:
            return self._read_call(self._call, pieces)
        if self._list:
            return self._read_between(pieces)
        before, after = split_at(self._held, _MARKER)
        if before:
            pieces.append(Content(before))
        if after is None:
            self._held = self._held[len(before) :]
            return False
        self._held, self._list, self._between = after, True, _MARKER
        self._opened = self._called = False
        return True

    def _read_between(self, pieces: list[Piece]) -> bool:
        """What stands before the next call: blanks, the list's bracket, a comma; or the end of the list."""
        letter, rest = self._held[0], self._held[1:]
        if letter == "{" and self._opened:
            self._call = CallReader(self._names)
        elif letter == "]" and self._called:
            self._held, self._list, self._between = rest, False, ""
        elif len(self._between) < _MAX_BETWEEN and (
            letter.isspace() or (letter == "[" and not self._opened) or (letter == "," and self._called)
        ):
            self._opened = self._opened or letter == "["
            self._held, self._between = rest, self._between + letter
        else:
            self._give_up("", pieces)
        return True

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        found, self._held = call.feed(self._held)
        pieces += found
        if call.done:
            self._call, self._called, self._between = None, True, ""
        elif call.broken:
            self._give_up(call.raw, pieces)
        return call.done or call.broken

    def _give_up(self, raw: str, pieces: list[Piece]) -> None:
        """No list of calls, or not any more."""
        if self._between or raw:
            pieces.append(Content(self._between + raw))
        self._list, self._between, self._call = False, "", None


def _grammar(tools: Sequence[Tool], names: Collection[str] = ()) -> Grammar:
    return one_call(tools, names, before='"[TOOL_CALLS]" " "? "["', key="arguments", after='"]"')


def _guess(template: str) -> bool:
    return _MARKER in template and "[ARGS]" not in template


MISTRAL = ToolFormat("mistral", (_MARKER,), MistralParser, _grammar, _guess)
