"""What is refused, each with a sentence, and in bounded time: wrong grammars, and those that cost too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2p.base.body import GrammarKind
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_PATTERN, MAX_SCHEMA_COUNT
from p2p.grammar.trial import attempt
from p2p.grammar.trying import explained, try_grammar
from tests.grammar.tokens import compiled

SCHEMA, OBJECT, REGEX = GrammarKind.JSON_SCHEMA, GrammarKind.JSON_OBJECT, GrammarKind.REGEX
CHOICE, LARK = GrammarKind.CHOICE, GrammarKind.LARK
DOUBLED = "A0: /x?y?z?/\n" + "\n".join(f"A{i + 1}: A{i} A{i}" for i in range(15)) + "\nstart: A15"


def schema(**parts: Any) -> str:
    return json.dumps(parts)


@pytest.mark.parametrize(("kind", "source", "words"), [
    (SCHEMA, "{", "not JSON"), (SCHEMA, "[1]", "object, or true"), (SCHEMA, "false", "object, or true"),
    (SCHEMA, '{"minimum": NaN}', "not JSON"), (SCHEMA, '{"x-guidance": {"lenient": true}}', "x-guidance"),
    (SCHEMA, '{"x-guidance": {"item_separator": "[ ,]*"}}', "x-guidance"), (SCHEMA, '{"x-guidance": 1}', "x-guidance"),
    (SCHEMA, schema(type="array", uniqueItems=True), "does not compile"),
    (SCHEMA, schema(type="string", pattern="(?=a)b"), "does not compile"),
    (SCHEMA, schema(type="string", format="colour"), "does not compile"),
    (SCHEMA, '{"$ref": "#"}', "no answer can follow"),
    (SCHEMA, schema(type="array", items={"$ref": "https://a.example/x"}), "does not compile"),
    (SCHEMA, schema(type="object", minProperties=2), "minProperties above 1"),
    (SCHEMA, '{"enum": ["\\ud800"]}', "does not compile"),
    (OBJECT, "{}", "no source"), (REGEX, "", "empty"), (REGEX, "(", "does not compile"),
    (REGEX, "a\\", "half of an escape"),
    (CHOICE, "[]", "JSON array"), (CHOICE, '["a", 1]', "JSON array"), (CHOICE, '[""]', "JSON array"),
    (CHOICE, '"a"', "JSON array"), (CHOICE, '["\\ud800"]', "surrogate"), (CHOICE, "[", "not JSON"),
    (LARK, " \n", "empty"), (LARK, "start: foo", "unknown name"), (LARK, "\x00", "does not compile"),
    (LARK, '%llguidance {"no_forcing": false}\nstart: "a"', "llguidance"),
    (LARK, "start: %json {", "followed by a JSON"),
    (LARK, 'start: %json {"minItems": 1e9}', "minItems"), (LARK, 'start: "a %json b"', "u0025json"),
    (LARK, "start: <|im_start|>", "does not compile"), (REGEX, "\ud800", "surrogate"),
])
def test_a_wrong_grammar_is_refused_with_a_sentence(kind: GrammarKind, source: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        compiled(kind, source)
    assert caught.value.field == "grammar"
    assert len(caught.value.message) <= 300


@pytest.mark.parametrize(("kind", "source"), [
    (SCHEMA, '{"type": "array", "items": ' * 20_000 + "{}" + "}" * 20_000),
    (SCHEMA, schema(type="array", minItems=10**9)), (SCHEMA, schema(type="array", maxItems=MAX_SCHEMA_COUNT + 1)),
    (SCHEMA, schema(anyOf=[{"type": "array", "maxItems": MAX_SCHEMA_COUNT - i} for i in range(1500)])),
    (SCHEMA, schema(type="object", properties={f"p{i}": {"type": "string"} for i in range(2000)})),
    (SCHEMA, schema(allOf=[{"anyOf": [{"pattern": f"a{j}"}, {"pattern": f"b{j}"}]} for j in range(14)], type="string")),
    (SCHEMA, schema(type="integer", multipleOf=982451653)),
    (REGEX, "(" * 3000 + "a" + ")" * 3000), (REGEX, "[a-z]*b?" * 2000), (REGEX, "a" * (MAX_PATTERN + 1)),
    (LARK, "start: " + "(" * 8000 + '"a"' + ")" * 8000), (LARK, "start: " + "a? " * 1500 + '\na: "x"'),
    (LARK, "start: b{1,1000}\nb: a{1,1000}\na: \"x\"{1,1000}"),
])
def test_a_grammar_that_is_too_large_is_refused(kind: GrammarKind, source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compiled(kind, source)
    assert caught.value.field == "grammar"


@pytest.mark.parametrize(("kind", "source"), [
    (LARK, DOUBLED), (LARK, "start: start start start | \"a\" | \"\""),
    (SCHEMA, schema(type="string", allOf=[{"pattern": f".*{i}.{{5}}"} for i in range(100)])),
])
def test_a_grammar_that_would_take_minutes_is_ended(kind: GrammarKind, source: str) -> None:
    """llguidance has no bound for these; its process has one."""
    with pytest.raises(InvalidRequest, match="make it simpler") as caught:
        compiled(kind, source)
    assert caught.value.field == "grammar"


@pytest.mark.parametrize(("kind", "source"), [
    (SCHEMA, schema(enum=[f"word{i}" for i in range(9000)])), (SCHEMA, schema(type="array", items={"$ref": "#"})),
    (SCHEMA, schema(**{"$ref": "#/$defs/d0", "$defs": {
        **{f"d{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/d{i + 1}"} for k in "ab"}}
           for i in range(60)}, "d60": {"type": "string"}}})),
    (SCHEMA, '{"type": "array", "items": ' * 100 + "{}" + "}" * 100), (SCHEMA, schema(type="string", maxLength=10**9)),
    (REGEX, "((a{1000}){1000}){1000}"), (REGEX, ".*a" * 50), (REGEX, "(a*)*b"), (REGEX, "(x+x+)+y"),
    (REGEX, "(a|b)*a" + "(a|b)" * 2500),
    (SCHEMA, schema(type="object", properties={f"p{i}": {"type": "string"} for i in range(400)})),
])
def test_what_only_looks_dangerous_compiles(kind: GrammarKind, source: str) -> None:
    compiled(kind, source).begin()


def test_a_trial_is_remembered() -> None:
    with pytest.raises(InvalidRequest) as first:
        try_grammar("start: nothing")
    with pytest.raises(InvalidRequest) as again:
        try_grammar("start: nothing")
    assert first.value.message == again.value.message


def test_a_trial_says_what_llguidance_says() -> None:
    assert attempt('start: "a" | "b"') == ""
    assert "unknown name" in attempt("start: nothing")
    assert "dead" not in explained("NoExtensionBias\n<state>")
    assert "<state>" not in explained("too many states\n<state>x</state>")
