"""A call that is demanded is forced by a grammar, and the format's parser reads whatever the grammar lets through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2p.base.body import Grammar, GrammarKind, Tool
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_GRAMMAR
from p2p.text.tool_formats.formats import FORMATS
from p2p.text.tool_formats.grammar import call_or_form
from tests.text.tool_formats.test_parsers import read

llguidance = pytest.importorskip("llguidance")

CITY = Tool("weather", "", json.dumps({
    "type": "object", "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": "integer"}},
    "required": ["city"], "additionalProperties": False, "$defs": {"City": {"type": "string", "maxLength": 20}},
}))
ODD = Tool('say "é"\n\\', "", "")
OPEN = Tool("open", "", '{"properties": {"x": {"enum": ["[1]", "a\\"b"]}}}')


class Letters:
    """A vocabulary of the 256 bytes and an end, as llguidance wants it."""

    eos_token_id, bos_token_id = 256, None
    tokens = [bytes([byte]) for byte in range(256)] + [b"</s>"]
    special_token_ids = [256]  # noqa: RUF012

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def matcher(grammar: Grammar) -> Any:
    letters = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Letters()))
    made = llguidance.LLMatcher(letters, grammar.source)
    assert not made.is_error(), made.get_error()
    return made


def allows(grammar: Grammar, text: str) -> bool:
    """Whether `text` is a whole answer."""
    made = matcher(grammar)
    return all(made.consume_token(byte) for byte in text.encode()) and bool(made.is_accepting())


def call(name: str, tool: str, arguments: str) -> str:
    key = "parameters" if name == "llama3_json" else "arguments"
    text = f'{{"name": {json.dumps(tool, ensure_ascii=False)}, "{key}": {arguments}}}'
    return {"hermes": f"<tool_call>\n{text}\n</tool_call>", "mistral": f"[TOOL_CALLS] [{text}]"}.get(name, text)


@pytest.mark.parametrize("name", FORMATS)
def test_one_call_of_any_tool(name: str) -> None:
    grammar = FORMATS[name].call_grammar((CITY, ODD, OPEN), ())
    assert grammar.kind is GrammarKind.LARK
    for tool, arguments in ((CITY.name, '{"city": "Oslo", "days": 2}'), (ODD.name, "{}"),
                            (OPEN.name, '{"x": "a\\"b"}')):
        text = call(name, tool, arguments)
        assert allows(grammar, text)
        assert read(name, [text]) == ("", [(tool, arguments)])
    for tool, arguments in ((CITY.name, '{"days": 2}'), (CITY.name, '{"city": 1}'), (CITY.name, "[]"),
                            ("other", "{}"), (OPEN.name, '{"x": "no"}')):
        assert not allows(grammar, call(name, tool, arguments))
    assert not allows(grammar, call(name, CITY.name, '{"city":\n\n "Oslo"}')), "nobody pays for blanks without end"
    assert not allows(grammar, "It is sunny.")
    assert not allows(grammar, "")
    assert not allows(grammar, call(name, ODD.name, "{}") * 2)


@pytest.mark.parametrize("name", FORMATS)
def test_a_named_tool(name: str) -> None:
    grammar = FORMATS[name].call_grammar((CITY, OPEN), {"open"})
    assert allows(grammar, call(name, "open", '{"x": "[1]"}'))
    assert not allows(grammar, call(name, "weather", '{"city": "Oslo"}'))


@pytest.mark.parametrize(("tools", "names", "field"), [
    ((), (), "tool_choice"),
    ((CITY,), ("other",), "tool_choice"),
    ((Tool("f", "", "[1]"),), (), "tools[0].parameters"),
    ((CITY, Tool("f", "", "{")), (), "tools[1].parameters"),
    ((CITY, Tool("f", "", "[" * 100)), (), "tools[1].parameters"),
    ((Tool("f", "", json.dumps({"description": "x" * MAX_GRAMMAR})),), (), "tools"),
])
@pytest.mark.parametrize("name", FORMATS)
def test_what_the_caller_can_fix(name: str, tools: tuple[Tool, ...], names: tuple[str, ...], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        FORMATS[name].call_grammar(tools, names)
    assert caught.value.field == field


FORM = Grammar(GrammarKind.JSON_SCHEMA, json.dumps({
    "type": "object", "properties": {"name": {"$ref": "#/$defs/N"}}, "required": ["name"],
    "additionalProperties": False, "$defs": {"N": {"enum": ["Oslo", "a\nb"]}},
}))


def test_calls_without_a_mark_do_not_go_together_with_a_form() -> None:
    assert call_or_form(FORMATS["llama3_json"].call_grammar((CITY,), ()), FORM) is None


@pytest.mark.parametrize("name", ["hermes", "mistral"])
def test_a_call_or_an_answer_of_a_form(name: str) -> None:
    one = FORMATS[name].call_grammar((CITY, ODD), ())
    grammar = call_or_form(one, FORM)
    assert grammar is not None
    assert allows(grammar, call(name, CITY.name, '{"city": "Oslo"}'))
    for text in ('{"name": "Oslo"}', '{"name": "a\\nb"}'):
        assert allows(grammar, text)
        assert read(name, [text]) == (text, [])
    for text in ("Oslo", '{"name": "x"}', call(name, CITY.name, "{}"), ""):
        assert not allows(grammar, text)
    choice = call_or_form(one, Grammar(GrammarKind.CHOICE, '["yes", "\\"no"]'))
    assert choice is not None
    assert allows(choice, "yes")
    assert allows(choice, '"no')
    assert allows(choice, call(name, ODD.name, "{}"))
    assert not allows(choice, "maybe")
    empty = call_or_form(one, Grammar(GrammarKind.JSON_OBJECT, ""))
    assert empty is not None
    assert allows(empty, '{"a":[]}')
    assert call_or_form(one, Grammar(GrammarKind.REGEX, "a")) is None
    with pytest.raises(InvalidRequest, match="offer fewer tools"):
        call_or_form(one, Grammar(GrammarKind.CHOICE, json.dumps(["x" * MAX_GRAMMAR])))
