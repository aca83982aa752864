"""What a model writes is content and calls, whatever pieces it comes in; nothing that it writes is an error."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import ConfigError
from p2p.text.tool_formats.formats import FORMATS, guess, markers
from p2p.text.tool_formats.pieces import CallArguments, CallBegin, CallEnd, Content

CALL = '{"name": "add", "arguments": {"a": [1, {"b": "}]\\"<tool_call>"}], "é": "\U0001f336"}}'
ARGS = '{"a": [1, {"b": "}]\\"<tool_call>"}], "é": "\U0001f336"}'
OTHER = '{"name": "sub", "arguments": {}}'
BROKEN = '{"name": "add", "arguments": {"a": 1'


def read(name: str, parts: list[str], names: Collection[str] | None = None) -> tuple[str, list[tuple[str, str]]]:
    """(content, calls as (name, arguments)), with the order of the pieces checked."""
    parser = FORMATS[name].parser(names)
    pieces = [piece for part in parts for piece in parser.feed(part)] + parser.finish()
    content, calls, inside = "", list[tuple[str, str]](), False
    for piece in pieces:
        match piece:
            case Content(text):
                assert text and not inside
                content += text
            case CallBegin(word):
                assert not inside
                calls.append((word, ""))
                inside = True
            case CallArguments(text):
                assert text and inside
                calls[-1] = (calls[-1][0], calls[-1][1] + text)
            case CallEnd():
                assert inside
                inside = False
    assert not inside
    return content, calls


@pytest.mark.parametrize(("name", "text", "content", "calls"), [
    ("hermes", "plain", "plain", []),
    ("hermes", f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>", "Let me see.\n", [("add", ARGS)]),
    ("hermes", f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{OTHER}</tool_call>\n", "", [("add", ARGS), ("sub", "{}")]),
    ("hermes", f"<tool_call>{OTHER}</tool_call>\n so it is", "so it is", [("sub", "{}")]),
    ("hermes", f"<tool_call>{OTHER}", "", [("sub", "{}")]),
    ("hermes", f"<tool_call>{OTHER}\nand then", "and then", [("sub", "{}")]),
    ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', "", [("add", '{"a": 1}')]),
    ("hermes", '<tool_call>{"name": "add", "parameters": {"a": 1}}</tool_call>', "", [("add", '{"a": 1}')]),
    ("hermes", '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [("add", '{"a": 1}')]),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', "", [("add", "{}")]),
    ("hermes", f"<tool_call>{BROKEN}", "", [("add", '{"a": 1')]),
    ("hermes", f"<tool_call>{BROKEN}]}}</tool_call>", "}</tool_call>", [("add", '{"a": 1]')]),
    ("hermes", "<tool_call>add(1)</tool_call>", "<tool_call>add(1)</tool_call>", []),
    ("hermes", f"<tool_call><tool_call>{OTHER}</tool_call>", "<tool_call>", [("sub", "{}")]),
    ("hermes", '<tool_call>{"name": 1, "arguments": {}}</tool_call>x',
     '<tool_call>{"name": 1, "arguments": {}}</tool_call>x', []),
    ("hermes", '<tool_call>{"name": "add"', '<tool_call>{"name": "add"', []),
    ("hermes", "a <tool_ca", "a <tool_ca", []),
    ("hermes", "<tool_call>", "<tool_call>", []),
    ("llama3_json", "plain {}", "plain {}", []),
    ("llama3_json", "  \n plain", "  \n plain", []),
    ("llama3_json", CALL, "", [("add", ARGS)]),
    ("llama3_json", f"<|python_tag|>{CALL}; {OTHER}", "", [("add", ARGS), ("sub", "{}")]),
    ("llama3_json", f"{OTHER};\nDone {{}}", "Done {}", [("sub", "{}")]),
    ("llama3_json", '{"a": {"name": "add"}}', '{"a": {"name": "add"}}', []),
    ("llama3_json", '{"a": 1', '{"a": 1', []),
    ("llama3_json", " " * 500, " " * 500, []),
    ("llama3_json", "<|python", "<|python", []),
    ("mistral", "plain [1]", "plain [1]", []),
    ("mistral", f"[TOOL_CALLS] [{CALL}, {OTHER}]", "", [("add", ARGS), ("sub", "{}")]),
    ("mistral", f"So:[TOOL_CALLS][{OTHER}] done", "So: done", [("sub", "{}")]),
    ("mistral", f"[TOOL_CALLS][{OTHER}", "", [("sub", "{}")]),
    ("mistral", f"[TOOL_CALLS][{OTHER}, ", "", [("sub", "{}")]),
    ("mistral", f"[TOOL_CALLS] {OTHER}", f"[TOOL_CALLS] {OTHER}", []),
    ("mistral", "[TOOL_CALLS] [1, 2]", "[TOOL_CALLS] [1, 2]", []),
    ("mistral", "[TOOL_CALLS] []", "[TOOL_CALLS] []", []),
    ("mistral", f"[TOOL_CALLS] [{OTHER}, x", ", x", [("sub", "{}")]),
    ("mistral", "[TOOL_CALLS", "[TOOL_CALLS", []),
    ("mistral", '[TOOL_CALLS] [{"a": 1}]', '[TOOL_CALLS] [{"a": 1}]', []),
])
@given(data=st.data())
def test_answers(name: str, text: str, content: str, calls: list[tuple[str, str]], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[begin:end] for begin, end in pairwise([0, *cuts, len(text)])]
    assert read(name, parts) == (content, calls)


@pytest.mark.parametrize("name", FORMATS)
@given(text=st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", *'{}[]",:\\ \n;x',
                                      '"name"', '"arguments"', '{"name": "f", "arguments": {', "é"])).map("".join),
       data=st.data())
def test_pieces_change_nothing(name: str, text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[begin:end] for begin, end in pairwise([0, *cuts, len(text)])]
    assert read(name, parts) == read(name, [text]) == read(name, list(text))
    if '"name"' not in text:
        assert read(name, parts) == (text, []), "what is no call is content, letter for letter"


@pytest.mark.parametrize("name", FORMATS)
def test_only_offered_tools_are_called(name: str) -> None:
    text = {"hermes": f"<tool_call>{OTHER}</tool_call>", "mistral": f"[TOOL_CALLS][{OTHER}]"}.get(name, OTHER)
    assert read(name, [text], {"sub"}) == ("", [("sub", "{}")])
    assert read(name, [text], {"add"}) == (text, [])


def test_arguments_come_while_they_are_written() -> None:
    parser = FORMATS["hermes"].parser(None)
    assert parser.feed('<tool_call>{"name": "add", "arguments": {"a"') == [CallBegin("add"), CallArguments('{"a"')]
    assert parser.feed(": 1}") == [CallArguments(": 1}"), CallEnd()]
    assert parser.feed("}\n</tool_call>") == parser.finish() == []


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("unit", ["<tool_call>", "[TOOL_CALLS]", "[TOOL_CALLS][", " ", "{", '{"name": "f", "arguments": {',
                                  "<tool_call>{", '"', "<", "[TOOL_CALLS],", "\\"])
def test_long_nonsense_is_read_in_one_go(name: str, unit: str) -> None:
    """Were any of it read twice for each letter, this would not end today."""
    text = unit * (400_000 // len(unit))
    content, _ = read(name, [text])
    assert len(content) <= len(text)


def test_names_of_formats() -> None:
    assert list(FORMATS) == [one.name for one in FORMATS.values()] == ["mistral", "hermes", "llama3_json"]
    assert markers("") == ()
    assert markers("mistral") == ("[TOOL_CALLS]",)
    with pytest.raises(ConfigError) as caught:
        markers("klingon")
    assert caught.value.field == "tool_format" and "hermes" in caught.value.message


@pytest.mark.parametrize(("template", "name"), [
    ("{{ '<tool_call>' }}{\"name\": ..., \"arguments\": ...}", "hermes"),
    ("<tool_call>\n<function=name>", ""),
    ("[TOOL_CALLS] [", "mistral"),
    ("[TOOL_CALLS]name[ARGS]{}", ""),
    ("<|start_header_id|>{'\"parameters\": '}", "llama3_json"),
    ("<|python_tag|>", "llama3_json"),
    ("{{ messages }}", ""),
])
def test_a_template_shows_its_format(template: str, name: str) -> None:
    assert guess(template) == name


def test_escaped_names_and_arguments() -> None:
    name, arguments = 'a"b\n', {"x": ["\\", '"', "{"]}
    text = json.dumps({"name": name, "arguments": arguments})
    assert read("llama3_json", [text]) == ("", [(name, json.dumps(arguments))])
