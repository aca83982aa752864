"""Token ids to text, one rule for everybody.

Law: the text is a function of all tokens of an answer, whichever executor made them. The pieces joined are the text,
and no piece ends inside a character.

Each token is bytes, by the model's tokenizer.json; special tokens, such as the end of an answer, are none. The bytes
are UTF-8. What is not UTF-8 shows as U+FFFD, and an unfinished character at the end does not show at all. So no piece
has to be taken back later.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p.base.errors import ConfigError
from p2p.base.keys import digest
from p2p.base.serving_limits import MAX_TOKEN_TEXT, MAX_VOCABULARY

_BLANK = "\u2581"  # how SentencePiece writes a blank


def text_hash(text: str) -> bytes:
    """Hash of an answer's text, as a FinishRecord carries it."""
    return digest(b"text", text.encode())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of each token of one model."""

    pieces: tuple[bytes, ...]  # by id; empty for special tokens and ids without a token
    blank_first: bool = False  # the tokenizer writes a blank before the first word, which is no part of a text

    def bytes_of(self, token: int) -> bytes:
        """Bytes of one token; none for an id beyond the vocabulary."""
        return self.pieces[token] if 0 <= token < len(self.pieces) else b""

    def text(self, tokens: Iterable[int], before: Sequence[int] = ()) -> str:
        """The text of a whole answer, which continues the tokens `before`."""
        stream = TextStream(self, before)
        return "".join(map(stream.add, tokens))


class TextStream:
    """Makes text token by token. before: earlier tokens, whose text was sent already."""

    def __init__(self, vocabulary: Vocabulary, before: Sequence[int] = ()) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = not vocabulary.blank_first
        for token in before:
            self.add(token)

    def add(self, token: int) -> str:
        """The characters that this token completes."""
        text = self._decoder.decode(self._vocabulary.bytes_of(token))
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix(" ")
        return text


def parse_vocabulary(raw: bytes, shown: Collection[str] = ()) -> Vocabulary:
    """From the bytes of a tokenizer.json: byte-level pieces (GPT-2's alphabet), or SentencePiece's with byte fallback.
    shown: special tokens that are text all the same, because the model marks calls of tools with them
    (tool_formats.markers). Raises ConfigError for any other kind."""
    try:
        table = json.loads(raw)
        model, decoder = table["model"], table.get("decoder") or {}
        kinds = {step["type"]: step for step in (decoder.get("decoders") or [decoder]) if "type" in step}
        vocab = model["vocab"]
        ids: dict[str, int] = dict(vocab) if isinstance(vocab, dict) else {row[0]: at for at, row in enumerate(vocab)}
        byte_level = "ByteLevel" in kinds
        if not byte_level and not {"Metaspace", "ByteFallback", "Replace"} & set(kinds):
            raise ConfigError(
                f"a decoder of {', '.join(sorted(kinds)) or 'no kind'} is not supported", field="tokenizer"
            )
        found = {_id(at): (_byte_level(word) if byte_level else _sentence_piece(word)) for word, at in ids.items()}
        for added in table.get("added_tokens") or ():
            word = str(added["content"])
            if not added["special"] or word in shown:
                found[_id(added["id"])] = word.encode()
            elif not isinstance(added["id"], int) or added["id"] < MAX_VOCABULARY:  # some for images are not
                found[_id(added["id"])] = b""
        longest = max(map(len, found.values()))
        if longest > MAX_TOKEN_TEXT:
            raise ConfigError(f"a token of {longest} bytes, at most {MAX_TOKEN_TEXT} are allowed", field="tokenizer")
        return Vocabulary(tuple(found.get(at, b"") for at in range(max(found) + 1)), _blank_first(kinds))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ConfigError(
            f"not a tokenizer.json of a supported form: {type(error).__name__} {error}"[:200], field="tokenizer"
        ) from error


def _id(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < MAX_VOCABULARY:
        raise ValueError(f"token id {value!r}")
    return value


def _blank_first(kinds: Mapping[str, Any]) -> bool:
    """Whether the decoder removes a blank at the beginning of a text."""
    strip, space = kinds.get("Strip"), kinds.get("Metaspace")
    if strip is not None:
        return bool(strip.get("content") == " " and strip.get("start"))
    return space is not None and space.get("prepend_scheme", "always") != "never"


def _alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable bytes stand for themselves, the others for 256 and up."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES = _alphabet()


def _byte_level(word: str) -> bytes:
    if all(letter in _BYTES for letter in word):
        return bytes(_BYTES[letter] for letter in word)
    return word.encode()


def _sentence_piece(word: str) -> bytes:
    if len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
        return bytes([int(word[3:5], 16)])
    return word.replace(_BLANK, " ").encode()
