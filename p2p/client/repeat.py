"""Tokens that come a second time, where an answer is continued.

Law: what comes again must be what came before, token for token and character for character; it is not shown twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.errors import RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Repeat:
    """What is still to come again."""

    tokens: tuple[int, ...] = ()
    text: str = ""

    def after(self, tokens: tuple[int, ...], text: str) -> tuple[Repeat, int, str]:
        """(what is still to come after these tokens and their text, how many of them were repeated, the text that is
        new). Raises RemoteProtocolError where something else came."""
        if not self.tokens:
            return self, 0, text
        many, long = min(len(tokens), len(self.tokens)), min(len(text), len(self.text))
        left = Repeat(self.tokens[many:], self.text[long:])
        new = text[long:]
        is_odd = bool(new) if many == len(tokens) else bool(left.text)  # text without the tokens that it belongs to
        if tokens[:many] != self.tokens[:many] or text[:long] != self.text[:long] or is_odd:
            raise RemoteProtocolError("the answer was not continued with the tokens that it had", field="tokens")
        return left, many, new


NOTHING = Repeat()
