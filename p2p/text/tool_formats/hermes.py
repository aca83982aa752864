"""Calls as Hermes and Qwen models write them: <tool_call>\\n{"name": "f", "arguments": {...}}\\n</tool_call>.

Law: what stands in such tags and is a call is one; everything else is content, tags included. Linear in the text.

Blanks after a call are the format's own and do not show.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p.base.body import Grammar, Tool
from p2p.text.tool_formats.call_reader import CallReader
from p2p.text.tool_formats.grammar import one_call
from p2p.text.tool_formats.held_text import portions, split_at
from p2p.text.tool_formats.pieces import Content, Piece, ToolFormat

_BEGIN, _END = "<tool_call>", "</tool_call>"


class HermesParser:
    """See pieces.Parser."""

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self._held = ""
        self._call: CallReader | None = None
        self._after_call = False  # nothing but blanks since a call

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
            rest = _BEGIN + self._call.raw if self._call.broken else ""
        self._held, self._call = "", None
        return [*pieces, Content(rest)] if rest else pieces

    def _read_text(self, pieces: list[Piece]) -> bool:
        """Whether there is more to read."""
        if self._after_call:
            self._held = self._held.lstrip()
        before, after = split_at(self._held, _BEGIN)
        if before:
            pieces.append(Content(before))
            self._after_call = False
        if after is None:
            self._held = self._held[len(before) :]
            return False
        self._held, self._call = after, CallReader(self._names)
        return True

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        if not call.done:
            found, self._held = call.feed(self._held)
            pieces += found
        if call.broken:
            pieces.append(Content(_BEGIN + call.raw))
            self._call, self._after_call = None, False
            return True
        if not call.done:
            return False
        self._held = self._held.lstrip()
        if not self._held or (_END.startswith(self._held) and self._held != _END):
            return False
        self._held, self._call, self._after_call = self._held.removeprefix(_END), None, True
        return True


def _grammar(tools: Sequence[Tool], names: Collection[str] = ()) -> Grammar:
    return one_call(tools, names, before=r'"<tool_call>\n"', key="arguments", after=r'"\n</tool_call>"')


def _guess(template: str) -> bool:
    return _BEGIN in template and "<function=" not in template and "<arg_key>" not in template


HERMES = ToolFormat("hermes", (_BEGIN, _END), HermesParser, _grammar, _guess)
