"""Signs break control tokens apart, and taking them out gives the text back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import InvalidRequest
from p2p.base.json_text import read_json, read_object
from p2p.text.controls import Controls, any_of, free_signs

WORDS = ("<s>", "</s>", "<|im_end|>", "<|im_start|>", "aba", "ab")
CONTROLS = Controls(WORDS)
TEXT = st.lists(st.sampled_from([*WORDS, "<", ">", "|", "a", "b", "s", " ", "\n", "im", "<|im_"])).map("".join)


@given(TEXT)
def test_no_control_token_is_left_and_nothing_is_lost(text: str) -> None:
    for marked in (CONTROLS.broken(text, "§"), CONTROLS.shattered(text, "§")):
        assert not any(word in marked for word in WORDS)
        assert marked.replace("§", "") == text


@given(TEXT, TEXT, st.sampled_from(["", " ", "\n"]))
def test_two_texts_joined_make_none_either(first: str, second: str, blanks: str) -> None:
    joined = CONTROLS.broken(first + blanks, "§").strip() + CONTROLS.broken(second, "§").strip()
    assert not any(word in joined for word in WORDS)


@given(st.text(alphabet="xyz <\n", max_size=20))
def test_a_text_that_has_none_stays_as_it_is(text: str) -> None:
    marked = CONTROLS.broken(text, "§")
    assert marked == text or text.rstrip().endswith("<")
    assert CONTROLS.is_near([text]) == (CONTROLS.shattered(text, "§") != text)


def test_a_tokenizer_without_control_tokens() -> None:
    none = Controls(())
    assert none.broken("<s>", "§") == none.shattered("<s>", "§") == "<s>"
    assert not none.is_near(["<s>"])


@given(st.lists(st.text(alphabet="ab|<", min_size=1, max_size=4), min_size=1), st.text(alphabet="ab|<", max_size=20))
def test_a_tree_of_words_finds_the_longest(words: list[str], text: str) -> None:
    longest_first = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    assert re.findall(any_of(words), text) == re.findall(longest_first, text)


def test_thousands_of_words_are_looked_for_at_once() -> None:
    controls = Controls(f"<unused{at}>" for at in range(6000))
    text = "<unused" * 50_000
    assert controls.broken(text, "§") == text + "§"
    assert controls.broken("<unused17>", "§") == "<§unused17>"


def test_signs_are_letters_that_nobody_used() -> None:
    assert free_signs(["a", "\U00020000\U00020002"], 2) == ["\U00020001", "\U00020003"]
    assert all(sign.isprintable() and sign.upper() == sign for sign in free_signs([], 50))
    with pytest.raises(InvalidRequest):
        free_signs(["".join(map(chr, range(0x20000, 0x2A6D0)))], 1)


@pytest.mark.parametrize("text", ["", "{", "NaN", "Infinity", "[" * 65 + "]" * 65, "[" * 200_000, '"\\', "1" * 5000,
                                  '["' + '\\"' * 400_000])
def test_json_that_is_none_or_too_deep(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(text)


def test_json_that_is_read() -> None:
    assert read_json('[1, {"a": "]\\"[", "\\ud800": "\\ud83c\\udf36"}]') == [1, {"a": ']"[', "\ufffd": "\U0001f336"}]
    assert read_json("[" * 64 + "]" * 64)
    assert read_object("", "x") == {}
    with pytest.raises(InvalidRequest) as caught:
        read_object("[]", "tools[3].parameters")
    assert caught.value.field == "tools[3].parameters"
