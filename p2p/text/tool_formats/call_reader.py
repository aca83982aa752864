"""Reads one call that is written as a JSON object: {"name": "f", "arguments": {...}}.

Law: linear in what is fed; nothing that is fed is an error.

Arguments are handed on while they come, if the name comes first, as all formats ask. Otherwise the call is handed on
when the object is whole. Some models call the arguments "parameters"; both words are read everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from p2p.base.json_text import read_json
from p2p.base.limits import MAX_NAME
from p2p.text.tool_formats.pieces import CallArguments, CallBegin, CallEnd, Piece

_HEAD = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*+")\s*,\s*"(?:arguments|parameters)"\s*:\s*', re.DOTALL)
_MAX_HEAD = 6 * MAX_NAME + 256  # characters before the arguments, with a name in escapes
_CLOSES = {"{": "}", "[": "]"}


class CallReader:
    """One object. `done`: it is over, and it was a call. `broken`: it is no call, and `raw` is what was read of it."""

    def __init__(self, names: Collection[str] | None) -> None:
        self.done = self.broken = self.begun = False
        self._names = names
        self._letters: list[str] = []  # read so far
        self._open: list[str] = []  # the brackets that must close, innermost last
        self._in_string = self._escaped = False
        self._arguments: list[str] | None = None  # letters that are not handed on yet; None: others are being read

    @property
    def raw(self) -> str:
        return "".join(self._letters)

    def feed(self, text: str) -> tuple[list[Piece], str]:
        """The pieces that this text completes, and what of it comes after the object."""
        pieces: list[Piece] = []
        at = 0
        while at < len(text) and not (self.done or self.broken):
            if not self._open and text[at] != "{" and not text[at].isspace():
                self.broken = True
                break
            self._take(text[at], pieces)
            at += 1
        self._hand_on(pieces)
        return pieces, text[at:]

    def finish(self) -> list[Piece]:
        """The answer is over, though the object is not."""
        if not self.begun:
            self.broken = True
            return []
        said: list[Piece] = [CallEnd()] if self._arguments is not None else []
        self._arguments, self.done = None, True
        return said

    def _take(self, letter: str, pieces: list[Piece]) -> None:
        if self._arguments is not None:
            self._arguments.append(letter)
        elif not self.begun:
            self._letters.append(letter)
        if not self._open:
            if letter == "{":
                self._open.append("}")
        elif self._in_string:
            self._in_string = self._escaped or letter != '"'
            self._escaped = not self._escaped and letter == "\\"
        elif letter == '"':
            self._in_string = True
        elif letter in _CLOSES:
            if letter == "{" and len(self._open) == 1 and not self.begun:
                self._begin(pieces)
            self._open.append(_CLOSES[letter])
        elif letter in "}]":
            self._close(letter, pieces)

    def _begin(self, pieces: list[Piece]) -> None:
        """An object opens inside the object: the arguments, if the name stands before it."""
        if len(self._letters) > _MAX_HEAD:
            return
        head = _HEAD.fullmatch(self.raw.strip()[:-1])
        name = self._name(json.loads(head[1], strict=False)) if head else None
        if name is not None:
            self.begun, self._arguments = True, ["{"]
            pieces.append(CallBegin(name))

    def _close(self, letter: str, pieces: list[Piece]) -> None:
        fits = self._open.pop() == letter
        if self._arguments is not None and (len(self._open) == 1 or not fits):
            self._hand_on(pieces)
            pieces.append(CallEnd())
            self._arguments = None
        if not fits:  # no JSON
            self.done, self.broken = self.begun, not self.begun
        elif not self._open:
            self.done = self.begun or self._was_call(pieces)
            self.broken = not self.done

    def _was_call(self, pieces: list[Piece]) -> bool:
        """The object is whole and did not begin as a call: whether it is one all the same."""
        try:
            value = read_json(self.raw)
        except ValueError:
            return False
        name = self._name(value.get("name"))
        arguments = value.get("arguments", value.get("parameters"))
        if name is None or not isinstance(arguments, dict | str | None):
            return False
        self.begun = True
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        pieces += [CallBegin(name), CallArguments(text), CallEnd()]
        return True

    def _name(self, value: object) -> str | None:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
            return None
        return value if self._names is None or value in self._names else None

    def _hand_on(self, pieces: list[Piece]) -> None:
        if self._arguments:
            pieces.append(CallArguments("".join(self._arguments)))
            self._arguments = []
