"""What libraries write by themselves is said in words that a grammar can promise, and never means more."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.closed_schema import closed_schema
from p2p.base.plain_schema import FORMATS, LESS, plain_schema
from tests.base.test_closed_schema import SCHEMAS, VALUES

DECIMAL, ADDRESS = LESS
TEXT = {"type": "string"}


@pytest.mark.parametrize(("said", "plain"), [
    ({"type": "string", "format": "binary"}, TEXT), ({"type": "integer", "format": "int64"}, {"type": "integer"}),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    ({"type": "object", "propertyNames": TEXT, "additionalProperties": TEXT},
     {"type": "object", "additionalProperties": TEXT}),
    ({"propertyNames": {"enum": ["a"]}}, {"propertyNames": {"enum": ["a"]}}),
    ({"properties": {"x": {"not": {}}}}, {"properties": {"x": False}}), ({"not": {"type": "null"}},) * 2,
    ({"uniqueItems": False, "type": "array"}, {"type": "array"}), ({"uniqueItems": True},) * 2,
    ({"dependentRequired": {}}, {}), ({"dependentRequired": {"a": ["b"]}},) * 2,
    ({"properties": {"a": TEXT}, "unevaluatedProperties": False},
     {"properties": {"a": TEXT}, "additionalProperties": False}),
    ({"allOf": [TEXT], "unevaluatedProperties": False},) * 2,
    ({"items": {"anyOf": [{"pattern": DECIMAL}, {"format": "x"}]}},
     {"items": {"anyOf": [{"pattern": LESS[DECIMAL]}, {}]}}),
    ({"oneOf": [{"pattern": DECIMAL}, TEXT]},) * 2,
    ({"$defs": {"d": {"pattern": DECIMAL}}, "not": {"$ref": "#/$defs/d"}},) * 2,
    ({"const": {"format": "x"}, "enum": [{"not": {}}], "default": {"format": "x"}},) * 2, (True, True), (7, 7),
])
def test_words_that_say_nothing_or_can_be_said_otherwise(said: Any, plain: Any) -> None:
    before = copy.deepcopy(said)
    assert plain_schema(said) == plain
    assert said == before, "what came is not changed"


@given(SCHEMAS, VALUES)
def test_whatever_fits_the_result_fits_what_came(schema: Any, value: Any) -> None:
    root = {"$defs": {"d": {"type": "integer"}}} | (schema if isinstance(schema, dict) else {})
    if jsonschema.Draft202012Validator(plain_schema(root)).is_valid(value):
        assert jsonschema.Draft202012Validator(root).is_valid(value)


@pytest.mark.parametrize("pattern", LESS)
@given(st.data())
def test_a_pattern_matches_less_than_the_one_that_looks_around(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(LESS[pattern], fullmatch=True)).rstrip("\n")
    assert re.match(LESS[pattern], text)
    assert re.match(pattern, text)


def test_a_grammar_is_made_of_what_libraries_write() -> None:
    pytest.importorskip("llguidance")
    from p2p.base.body import Grammar, GrammarKind
    from p2p.gateway.core.fields import as_json
    from p2p.grammar.compiled import compile_grammar
    from p2p.grammar.tokenizer import GrammarTokenizer
    from testnet.simulated_engine import EOS, VOCAB, tokenizer_json

    tokens = GrammarTokenizer.from_json(tokenizer_json().encode(), frozenset({EOS}), VOCAB)
    written = {name: {"type": "string", "format": name} for name in (*FORMATS, "binary", "base64url", "url")}
    written |= {"amount": {"anyOf": [{"type": "number"}, {"type": "string", "pattern": DECIMAL}]}}
    written |= {"mail": {"type": "string", "format": "email", "pattern": ADDRESS}, "never": {"not": {}}}
    written |= {"record": {"type": "object", "propertyNames": TEXT, "additionalProperties": {"type": "number"}}}
    schema = {"type": "object", "properties": written, "required": ["amount"], "unevaluatedProperties": False}
    for part in ({"type": "object", "properties": {name: one}} for name, one in written.items()):
        made = closed_schema(plain_schema(part))
        compile_grammar(Grammar(GrammarKind.JSON_SCHEMA, as_json(made)), tokens, tried=True)
    assert closed_schema(plain_schema(schema))["additionalProperties"] is False
