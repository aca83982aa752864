"""What a grammar allows: bytes decide; ends exactly where it may end; never a special token; always something."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import numpy as np
import pytest

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import InvalidRequest
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.matcher import Matcher
from p2p.grammar.tokenizer import GrammarTokenizer
from testnet.simulated_engine import BYTE_BASE as TOY_BASE
from testnet.simulated_engine import EOS, VOCAB, tokenizer_json
from tests.grammar.tokens import (
    ENDS,
    PIECES,
    SPECIAL,
    VOCABULARY,
    begin,
    compiled,
    takes,
    text_of,
    tokens_of,
)

SCHEMA, OBJECT, REGEX = GrammarKind.JSON_SCHEMA, GrammarKind.JSON_OBJECT, GrammarKind.REGEX
CHOICE, LARK = GrammarKind.CHOICE, GrammarKind.LARK
PERSON = {
    "type": "object", "required": ["name", "age"], "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
}
SCHEMAS: list[object] = [
    PERSON,
    {"type": "array", "items": {"enum": ["a", "é\n\"", 1, None, True, [1, {"x": 2}]]}, "minItems": 1, "maxItems": 4},
    {"anyOf": [{"type": "string", "pattern": "^[a-c]+-[0-9]{2}$"}, {"type": "number", "minimum": -2.5, "maximum": 7}]},
    {"$defs": {"tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "v": {"const": "x"}},
                        "required": ["v"], "additionalProperties": False}}, "$ref": "#/$defs/tree"},
    {"type": "object", "properties": {"k": {"type": ["boolean", "null"]}}, "additionalProperties": {"type": "integer"}},
    {"type": "object", "patternProperties": {"^n[0-9]$": {"type": "number"}}, "additionalProperties": False,
     "minProperties": 1},
    {"type": "string", "format": "date"}, {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
               {"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
    {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"], "maxProperties": 3},
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {}, True,
]


def walk(matcher: Matcher, chance: random.Random, most: int = 400) -> list[int] | None:
    """A way through the grammar that likes to close what is open, ends included; None where it found no end."""
    tokens: list[int] = []
    for _ in range(most):
        able = np.flatnonzero(matcher.allowed()).tolist()
        closing = [t for t in able if t in ENDS or text_of([t])[:1] in b'"}],:0']
        token = chance.choice(closing if closing and chance.random() < 0.6 else able)
        assert matcher.accept(token)
        tokens.append(token)
        if token in ENDS:
            return tokens
    return None


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_every_answer_that_ends_is_valid(schema: object) -> None:
    made, ended = compiled(SCHEMA, json.dumps(schema)), 0
    for number in range(60):
        found = walk(made.begin(), random.Random(number))
        if found is not None:
            ended += 1
            text = text_of(found).decode()
            jsonschema.validate(json.loads(text), schema)
    assert ended > 10


def test_any_object_is_an_object() -> None:
    made = compiled(OBJECT)
    found = [walk(made.begin(), random.Random(number)) for number in range(60)]
    values = [json.loads(text_of(tokens)) for tokens in found if tokens is not None]
    assert len(values) > 10
    assert all(isinstance(value, dict) for value in values)
    assert any(values)


@pytest.mark.parametrize("pattern", [
    "[a-z]{2,4}", "^(yes|no)$", "a/b\\d+", "(ab|c)*d?", "[^a-z]{3}", "é+日?", "\\w{2}\\s\\w", "x{0,3}y", "(?i)ab\\.",
])
def test_a_regex_is_the_whole_answer(pattern: str) -> None:
    made = compiled(REGEX, pattern)
    for number in range(40):
        found = walk(made.begin(), random.Random(number), 60)
        if found is not None:
            assert re.fullmatch(pattern, text_of(found).decode(), re.ASCII), text_of(found)


def test_a_choice_is_one_of_its_texts() -> None:
    texts = ["yes", "no", "yesno", "a\"\\\n\x7f\x00é", "%json {", "日"]
    found = set()
    for number in range(80):
        tokens = walk(begin(CHOICE, json.dumps(texts)), random.Random(number))
        assert tokens is not None
        found.add(text_of(tokens).decode())
    assert found == set(texts)
    many = json.dumps([f"word{number}" for number in range(8000)])
    assert takes(CHOICE, many, "word7999")
    assert not takes(CHOICE, many, "word8000")


def test_lark_mixes_text_and_schemas() -> None:
    source = 'start: "<call>" %json {"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}, ' \
        '"additionalProperties": false} "</call>"'
    assert takes(LARK, source, '<call>{"a": 1}</call>')
    assert not takes(LARK, source, '<call>{"a":  1}</call>'), "schemas inside have the same blanks as others"
    assert not takes(LARK, source, '<call>{"a": 2}</call>')
    tight = source.replace('"type"', '"x-guidance": {"key_separator": ":"}, "type"')
    assert takes(LARK, tight, '<call>{"a":1}</call>')
    assert not takes(LARK, tight, '<call>{"a": 1}</call>')
    long = source.replace("1", json.dumps("word" * 10_000))
    assert takes(LARK, long, f'<call>{{"a":"{"word" * 10_000}"}}</call>'), "schemas do not count as Lark"


@pytest.mark.parametrize(("text", "right"), [
    ('{"name":"x","age":5}', True), ('{"name": "x", "age": 5}', True), ('{"name":"x", "age":150}', True),
    ('{"name":  "x","age":5}', False), ('{ "name":"x","age":5}', False), ('{"name":"x" ,"age":5}', False),
    ('{"name":"x","age":5} ', False), (' {"name":"x","age":5}', False), ('{"age":5,"name":"x"}', False),
    ('{"name":"x","age":151}', False), ('{"name":"x"}', False), ('{"name":"123456789","age":1}', False),
])
def test_blanks_and_the_order_of_keys(text: str, right: bool) -> None:
    """At most one blank after a comma or a colon; keys in the schema's order."""
    assert takes(SCHEMA, json.dumps(PERSON), text) is right


def test_all_ends_are_allowed_where_it_may_end_and_only_there() -> None:
    matcher = begin(REGEX, "ab?")
    assert not any(matcher.allowed()[list(ENDS)])
    assert matcher.accept(tokens_of("a")[0])
    assert all(matcher.allowed()[list(ENDS)])
    assert matcher.allowed()[tokens_of("b")[0]]
    assert matcher.accept(tokens_of("b")[0])
    assert np.flatnonzero(matcher.allowed()).tolist() == sorted(ENDS), "complete: nothing may follow but an end"
    assert matcher.accept(max(ENDS))
    assert not matcher.accept(max(ENDS)), "after an end nothing comes"


def test_special_tokens_and_ids_without_a_token_are_never_allowed() -> None:
    for kind, source in ((REGEX, "(.|\n)*"), (LARK, 'start: <[2-20]>* /(.|\n)*/'), (OBJECT, "")):
        matcher, chance = begin(kind, source), random.Random(1)
        for _ in range(40):
            allowed = matcher.allowed()
            assert allowed.shape == (VOCABULARY,)
            assert not allowed[[0, SPECIAL]].any()
            assert np.flatnonzero(allowed[len(PIECES) :]).tolist() in ([], [300 - len(PIECES)])
            able = [token for token in np.flatnonzero(allowed).tolist() if token not in ENDS]
            if not able or not matcher.accept(chance.choice(able)):
                break
    assert not begin(REGEX, "a").accept(VOCABULARY + 5)
    assert not begin(REGEX, "a").accept(-1)


def test_what_is_not_allowed_changes_nothing() -> None:
    one, two = begin(OBJECT), begin(OBJECT)
    for token in tokens_of('{"a": [1'):
        for other in range(0, VOCABULARY, 7):
            if not two.allowed()[other]:
                assert not two.accept(other)
        assert one.accept(token)
        assert two.accept(token)
        assert np.array_equal(one.allowed(), two.allowed())


def test_a_token_is_allowed_by_its_bytes_however_it_is_cut() -> None:
    """Forced text may come in any tokens; half a character waits for its rest."""
    for cut in (["日"], [b"\xe6\x97", b"\xa5"], [b"\xe6", b"\x97\xa5"]):
        matcher = begin(CHOICE, '["日"]')
        for piece in cut:
            raw = piece.encode() if isinstance(piece, str) else piece
            for byte in raw if raw not in PIECES else [raw]:
                assert matcher.accept(PIECES.index(byte if isinstance(byte, bytes) else bytes([byte])))
        assert matcher.allowed()[min(ENDS)]


def test_where_no_token_fits_only_ends_are_allowed() -> None:
    """A model whose tokens cannot write a byte: the answer ends rather than hang."""
    few = GrammarTokenizer((b"", b"a"), frozenset({0}), 3)
    matcher = compile_grammar(Grammar(REGEX, "a?b"), few).begin()
    assert matcher.accept(1)
    assert np.flatnonzero(matcher.allowed()).tolist() == [0]
    assert matcher.accept(0)


def test_a_mask_is_computed_once_a_position_and_cannot_be_written() -> None:
    matcher = begin(REGEX, "a+")
    assert matcher.allowed() is matcher.allowed()
    with pytest.raises(ValueError, match="read-only"):
        matcher.allowed()[0] = True


def test_answers_do_not_share_their_state() -> None:
    made = compiled(REGEX, "ab")
    one, two = made.begin(), made.begin()
    assert one.accept(tokens_of("a")[0])
    assert two.allowed()[tokens_of("a")[0]]


def test_a_model_without_end_tokens_has_no_grammars() -> None:
    with pytest.raises(InvalidRequest) as caught:
        GrammarTokenizer(PIECES, frozenset(), VOCABULARY)
    assert caught.value.field == "grammar"
    with pytest.raises(InvalidRequest):
        GrammarTokenizer(PIECES, frozenset({VOCABULARY}), VOCABULARY)


def test_a_tokenizer_is_read_from_the_model_s_own_file_once() -> None:
    raw = tokenizer_json().encode()
    made = GrammarTokenizer.from_json(raw, frozenset({EOS}), VOCAB)
    assert GrammarTokenizer.from_json(raw, frozenset({EOS}), VOCAB) is made
    matcher = compile_grammar(Grammar(REGEX, "hi"), made).begin()
    assert matcher.accept(TOY_BASE + ord("h"))
    assert np.flatnonzero(matcher.allowed()).tolist() == [TOY_BASE + ord("i")]
