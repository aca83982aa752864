"""How a request is sampled: its body and parameters as one value, the same for executor and validator."""

from __future__ import annotations

import pytest

from p2p.base.body import Body, Grammar, GrammarKind, TextPrompt
from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.token_ids import pack_ids
from p2p.base.types import Params
from p2p.grammar.request_sampling import request_sampling
from p2p.verification.sampling import Sampling
from testnet.simulated_engine import BYTE_BASE, EOS, VOCAB, tokenizer_json

RAW, ENDS, PROMPT = tokenizer_json().encode(), frozenset({EOS}), TextPrompt("x")
DIGITS = Grammar(GrammarKind.REGEX, "[0-9]{2,4}")


def letters(text: str) -> list[int]:
    return [BYTE_BASE + ord(letter) for letter in text]


def test_a_body_without_a_grammar_needs_no_tokenizer() -> None:
    body = Body(PROMPT, bias=((3, -1500), (7, 20)), begun=pack_ids((5, 6)))
    found = request_sampling(Params(700), body, ENDS, None, VOCAB)
    assert found == Sampling(Params(700), ENDS, {3: -1.5, 7: 0.02}, None, (5, 6))


def test_a_grammar_begins_at_what_is_begun() -> None:
    found = request_sampling(Params(), Body(PROMPT, grammar=DIGITS, begun=pack_ids(letters("12"))), ENDS, RAW, VOCAB)
    state = found.begin(letters("3"))
    assert state.broken_at is None
    state.accept(letters("4")[0])
    state.accept(letters("5")[0])
    assert state.broken_at == 4


@pytest.mark.parametrize("begun", [letters("1x"), [*letters("12"), EOS], [EOS]])
def test_what_cannot_be_continued_is_refused(begun: list[int]) -> None:
    for grammar in (DIGITS, None):
        if grammar is None and EOS not in begun:
            continue
        with pytest.raises(InvalidRequest) as caught:
            request_sampling(Params(), Body(PROMPT, grammar=grammar, begun=pack_ids(begun)), ENDS, RAW, VOCAB)
        assert caught.value.field == "begun"


def test_what_is_missing_is_said() -> None:
    body = Body(PROMPT, grammar=DIGITS)
    with pytest.raises(ConfigError):
        request_sampling(Params(), body, ENDS, None, VOCAB)
    with pytest.raises(InvalidRequest) as caught:
        request_sampling(Params(), body, frozenset(), RAW, VOCAB)
    assert caught.value.field == "grammar"
