"""Text is a function of all tokens: whole characters only, the same in pieces, across executors, and as the tokenizer
itself says."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p.text.vocabulary import _BYTES, TextStream, Vocabulary, parse_vocabulary, text_hash

from p2p.base.errors import ConfigError
from testnet.simulated_engine import VOCAB, text_of
from tests.verification.toy import WORDS

LETTERS = {byte: letter for letter, byte in _BYTES.items()}
PLAIN = Vocabulary(tuple(bytes([byte]) for byte in range(256)))  # one token a byte


def pieces(tokens: Sequence[int], before: Sequence[int] = (), vocabulary: Vocabulary = PLAIN) -> list[str]:
    stream = TextStream(vocabulary, before)
    return [stream.add(token) for token in tokens]


@given(st.text(max_size=60), st.data())
def test_a_text_handed_over_anywhere_is_the_text(text: str, data: st.DataObject) -> None:
    """An executor may die inside a character: the next one begins with its rest and repeats nothing."""
    raw = list(text.encode())
    first, second = sorted(data.draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
    parts = [pieces(raw[:first]), pieces(raw[first:second], raw[:first]), pieces(raw[second:], raw[:second])]
    assert "".join(piece for part in parts for piece in part) == text == PLAIN.text(raw)


def test_ten_chilies_with_an_executor_dead_inside_each() -> None:
    raw = list(("\U0001f336" * 10).encode())
    for cut in range(len(raw) + 1):
        assert "".join(pieces(raw[:cut])) + "".join(pieces(raw[cut:], raw[:cut])) == "\U0001f336" * 10


@given(st.binary(max_size=60))
def test_what_is_no_text_never_changes_once_it_was_shown(raw: bytes) -> None:
    shown = pieces(list(raw))
    for cut in range(len(raw) + 1):
        assert "".join(shown[:cut]) == PLAIN.text(raw[:cut])
        assert PLAIN.text(raw).startswith(PLAIN.text(raw[:cut]))
    whole = raw.decode(errors="replace")
    assert whole.startswith("".join(shown))
    assert whole.removeprefix("".join(shown)) in ("", "\ufffd"), "an unfinished character at the end does not show"


def test_a_long_answer_costs_each_token_once() -> None:
    """No window is decoded again: what is asked of the vocabulary is one piece for a token."""
    asked = []

    class Counting(Vocabulary):
        def bytes_of(self, token: int) -> bytes:
            asked.append(token)
            return super().bytes_of(token)

    assert len("".join(pieces([ord("x")] * 4096, (), Counting(PLAIN.pieces)))) == len(asked) == 4096


def test_special_tokens_and_ids_beyond_are_no_text() -> None:
    assert WORDS.text(range(VOCAB)) == "".join(map(text_of, range(VOCAB)))
    assert WORDS.text([2, 16 + 65, 2, VOCAB, 2**18, -1, 16 + 66]) == "AB"


def tokenizer(
    vocab: dict[str, int] | list[list[object]], decoder: dict[str, object], added: Sequence[dict[str, object]] = ()
) -> bytes:
    return json.dumps({"model": {"vocab": vocab}, "decoder": decoder, "added_tokens": list(added)}).encode()


def test_byte_level_and_sentence_pieces_are_read() -> None:
    texts = (" né", "\U0001f336", "x")
    words = {"".join(LETTERS[byte] for byte in word.encode()): at for at, word in enumerate(texts)}
    added = [{"id": 3, "content": "<|end|>", "special": True}, {"id": 4, "content": "<tool call>", "special": False}]
    byte_level = parse_vocabulary(tokenizer(words, {"type": "ByteLevel"}, added))
    assert byte_level.text([0, 1, 3, 2, 4]) == " né\U0001f336x<tool call>"
    steps = [
        {"type": "Replace"}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    ]
    spm = parse_vocabulary(tokenizer({"\u2581go": 0, "\u2581": 1, "<0xF0>": 2, "<0x9F>": 3, "<0x8C>": 4, "<0xB6>": 5},
                                     {"type": "Sequence", "decoders": steps}))
    assert spm.text([0, 1, 2, 3, 4, 5, 0]) == "go \U0001f336 go"
    unigram = parse_vocabulary(tokenizer([["\u2581a", -1.0], ["b", -2.0]], {"type": "Metaspace"}))
    assert unigram.text([0, 1, 0]) == "ab a"


@pytest.mark.parametrize("raw", [
    b"", b"[]", b"{}", b"[" * 100_000, b'{"model": {}}', b'{"model": {"vocab": {"a": 0}}}',
    b'{"model": {"vocab": {}}, "decoder": {"type": "ByteLevel"}}',
    b'{"model": {"vocab": {"a": -1}}, "decoder": {"type": "ByteLevel"}}',
    b'{"model": {"vocab": {"a": 1e9}}, "decoder": {"type": "ByteLevel"}}',
    b'{"model": {"vocab": {"a": 262144}}, "decoder": {"type": "ByteLevel"}}',
    b'{"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}',
    b"\xff\xfe", tokenizer({"x" * 600: 0}, {"type": "ByteLevel"}),
])
def test_what_is_no_tokenizer_is_said(raw: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_vocabulary(raw)
    assert caught.value.field == "tokenizer"


def test_hashes_tell_texts_apart() -> None:
    assert len({text_hash(text) for text in ("", " ", "a", "A", "a\x1b[31m", "\ufffd")}) == 6
