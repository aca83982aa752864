"""Token ids to text, token by token. Law: the pieces joined are the text of all tokens; no piece ends inside a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WINDOW = 32  # tokens decoded again with each new one, at most about twice that
REPLACEMENT = "�"  # what a decoder writes for an incomplete character

Decode = Callable[[Sequence[int]], str]


class TextStream:
    """decode: token ids to text without special tokens. before: tokens whose text was already sent by somebody."""

    def __init__(self, decode: Decode, before: Sequence[int] = ()) -> None:
        self._decode = decode
        self._tokens = list(before)
        self._whole = 0  # the text of the first so many tokens of the window ends with a character
        self._sent = len(self._stable(decode(self._tokens))) if before else 0

    def add(self, token: int) -> str:
        """The text that is certain now and was not sent yet."""
        self._tokens.append(token)
        full = self._decode(self._tokens)
        stable = self._stable(full)
        piece = stable[self._sent :]
        self._sent = len(stable)
        if stable == full:
            self._shorten()
        return piece

    def flush(self) -> str:
        """What was held back, at the end of an answer."""
        full = self._decode(self._tokens)
        piece = full[self._sent :]
        self._sent = len(full)
        return piece

    @staticmethod
    def _stable(text: str) -> str:
        # an unfinished character shows as one replacement at the end (several with some decoders); a real one waits a token longer
        return text.rstrip(REPLACEMENT)

    def _shorten(self) -> None:
        """Forget tokens up to the last boundary; the rest stays as context, for decoders that look at the token before."""
        if len(self._tokens) - self._whole > WINDOW:
            if self._whole:
                self._tokens = self._tokens[self._whole :]
                self._sent = len(self._decode(self._tokens))
            self._whole = len(self._tokens)
