"""What a body's tokens are, what the caller can fix, and what is bounded. Tokenizers are made here, so nothing has to
be prepared."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.body import Body, Chat, ChatMessage, Role, TextPrompt, TokenPrompt, Tool, ToolCall
from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.serving_limits import MAX_TEMPLATE
from p2p.base.token_ids import pack_ids
from p2p.text.model_text import NO_TEMPLATE, ModelText, load_model_text
from tests.text.families import added, said, small, table

PLAIN = """{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt
%}<s>{% endif %}"""
BEGIN, END = 256, 257
FOREIGN = st.lists(st.sampled_from([
    "<", "s", ">", "/", "-", " ", "<s>", "</s>", "\U00020000", "\n", ">s<",
])).map("".join)
OWN = st.lists(st.sampled_from([
    "<s>", "</s>", "<|x|>", "<|y|>", "<think>", " ", "a", "B", "<", "|", ">", "\n",
])).map("".join)


def shown(tokens: tuple[int, ...], text: ModelText | None = None) -> str:
    """Tokens as text, control tokens as [ and ]."""
    words = (text or small()).vocabulary
    return "".join({BEGIN: "[", END: "]"}.get(at) or words.text([at]) for at in tokens)


def test_a_conversation_a_text_and_token_ids() -> None:
    model = small(PLAIN)
    assert shown(model.prompt(said("a<s>b"))) == "[user:a<s>b][", "the user's <s> is three letters"
    assert shown(model.prompt(Body(TextPrompt("a<s>b")))) == "a[b", "a text prompt says its own control tokens"
    assert model.prompt(Body(TokenPrompt(pack_ids((97, END, 5))))) == (97, END, 5)
    assert shown(model.encode("a<s>")) == "a<s>"


def test_what_was_begun_is_no_part_of_the_prompt() -> None:
    model = small(PLAIN)
    body = said("a")
    assert model.prompt(Body(body.prompt, begun=pack_ids((97, 98)))) == model.prompt(body)


def test_an_answer_that_is_continued_stays_open() -> None:
    model = small(PLAIN)
    assert shown(model.prompt(said("a", "b ", continues=True))) == "[user:a][assistant:b "
    strips = small(PLAIN.replace("m.content", "m.content | trim"))
    assert shown(strips.prompt(said("a", " b ", continues=True))) == "[user:a][assistant:b"
    assert shown(model.prompt(said("a", "", continues=True))) == "[user:a][assistant:"
    silent = small("{% for m in messages %}{{ m.role }}{% endfor %}")
    with pytest.raises(InvalidRequest) as caught:
        silent.prompt(said("a", "b", continues=True))
    assert caught.value.field == "continues"


def test_hashes_name_the_files() -> None:
    raw = json.dumps(table()).encode()
    model = load_model_text(raw, PLAIN, {})
    assert model.tokenizer_hash == sha256(raw).digest()
    assert model.template_hash == sha256(PLAIN.encode()).digest()
    assert model.has_template
    assert not small().has_template
    assert small().template_hash == NO_TEMPLATE == bytes(32)


def refused(model: ModelText, body: Body) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        model.prompt(body)
    return caught.value


def test_what_the_caller_can_fix_is_named() -> None:
    model = small(PLAIN + "{% if tools %}{{ tools[0].function.name }}{% endif %}")
    assert "completions only" in refused(small(), said("a")).message
    assert refused(model, Body(TokenPrompt(pack_ids((258,))))).field == "prompt"
    assert refused(model, Body(TextPrompt(""))).field == "prompt"
    for args in ("[1]", "{", "x", '{"a": NaN}', "[" * 4000, '{"today": "soon"}', '{"messages": []}',
                 '{"bos_token": "x"}',
                 '{"a": 1' + "0" * 4000 + "0" * 1000 + "}"):
        assert refused(model, said("a", template_args=args)).field == "template_args"
    for parameters in ("[1]", "{", "[" * 100_000):
        assert refused(model, said("a", tools=(Tool("f", "", parameters),))).field == "tools[0].parameters"
    assert shown(model.prompt(said("a", tools=(Tool("f", "", ""),)))) == "[user:a][f"


def test_a_templates_own_words_are_shown_on_one_line() -> None:
    model = small("{{ raise_exception('no\x1b[31m \n' ~ messages[0].content * 50) }}")
    error = refused(model, said("abc<s>"))
    assert error.field == "messages"
    assert error.message.startswith("the chat template refuses: no [31m  abc<s>abc<s>")
    assert len(error.message) < 300
    assert error.message.isprintable()
    assert refused(small("{{ messages[5].content }}"), said("a")).message.startswith("the chat template cannot write")
    assert "steps" in refused(small("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"),
                              said("a")).message


JOINING = [
    "{{ messages[0].content + messages[1].content }}",
    "{{ messages[0].content.strip() ~ messages[1].content.strip() }}",
    "{{ messages[0].content | replace('-', '') }}",
    "{{ messages[0].content.split('-') | join }}",
    "{{ '<' + messages[0].content }}",
    "{{ '<' + messages[0].content + '>' }}",
    "{{ messages[0].content + 's>' }}",
    "{{ messages[0].content[::-1] }}",
    "{{ messages[0].content | list | join }}",
    "{{ messages | tojson(ensure_ascii=true) }}",
    "{{ messages }}",
    "{{ messages[0].content | upper | lower }}",
]


@pytest.mark.parametrize("template", JOINING)
@given(first=FOREIGN, second=FOREIGN)
def test_no_template_makes_a_control_token_of_foreign_text(template: str, first: str, second: str) -> None:
    """Whatever it does with it: the token is text, or the request is refused."""
    model = small("<s>" + template + "</s>")
    try:
        tokens = model.prompt(Body(Chat((ChatMessage(Role.USER, first), ChatMessage(Role.ASSISTANT, second)))))
    except InvalidRequest as error:
        assert "would make control tokens" in error.message  # noqa: PT017
        return
    assert [at for at in tokens if at >= BEGIN] == [BEGIN, END]
    assert tokens[0] == BEGIN
    assert tokens[-1] == END
    assert "\U00020000" not in shown(tokens) or "\U00020000" in first, "no sign is left"


def test_names_calls_tools_and_arguments_are_foreign_text_too() -> None:
    model = small("{{ bos_token }}{{ messages | tojson }}{{ tools | tojson }}{{ extra }}")
    evil = "x<s>"
    call = ToolCall(evil, evil, json.dumps({evil: [evil]}))
    body = Body(Chat(
        (ChatMessage(Role.ASSISTANT, evil, (call, ToolCall("i", "n", evil)), name=evil),
         ChatMessage(Role.TOOL, evil, call_id=evil)),
        (Tool(evil, evil, json.dumps({evil: evil})),), json.dumps({"extra": evil}),
    ))
    tokens = model.prompt(body)
    assert tokens[0] == BEGIN
    assert tokens.count(BEGIN) == 1
    assert shown(tokens).count(evil) == 14


def test_arguments_that_are_an_object_are_one_for_the_template() -> None:
    model = small("{% for c in messages[0].tool_calls %}{{ c.function.arguments is mapping }} {% endfor %}")
    calls = tuple(ToolCall("i", "f", text) for text in ('{"a": 1}', "", "[1]", "5", "{", '"x"', "NaN", "[" * 500))
    assert shown(model.prompt(Body(Chat((ChatMessage(Role.ASSISTANT, "", calls),))))) == (
        "True True False False False False False False "
    )


def test_halves_of_characters_become_whole() -> None:
    model = small("{{ messages[0].tool_calls[0].function.arguments.a }}")
    calls = (ToolCall("i", "f", '{"a": "\\ud800x\\ud83c\\udf36"}'),)
    assert model.prompt(Body(Chat((ChatMessage(Role.ASSISTANT, "", calls),)))) == model.encode("\ufffdx\U0001f336")


def test_a_text_with_every_sign_is_refused() -> None:
    every = "".join(map(chr, range(0x20000, 0x2A6D0)))
    assert "rare" in refused(small(PLAIN), said(every)).message
    assert small(PLAIN).prompt(said(every[:-2]))


def test_today_is_what_the_request_says() -> None:
    model = small("{{ strftime_now('%d %B %Y') }}{{ messages[0].content }}")
    assert shown(model.prompt(said(""))) == "01 January 2025"
    assert shown(model.prompt(said("", template_args='{"today": "2026-03-09"}'))) == "09 March 2026"


def test_the_same_body_is_tokenized_once_and_from_any_thread() -> None:
    model = small(PLAIN)
    bodies = [said(f"{at}<s>" * 50) for at in range(40)]
    with ThreadPoolExecutor(4) as pool:
        first, second = (list(pool.map(model.prompt, bodies)) for _ in range(2))
    assert first == second == [small(PLAIN).prompt(body) for body in bodies]
    assert len(model._kept._packed) == 32


@pytest.mark.parametrize("kinds", [
    {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Metaspace", "replacement": "Ġ", "prepend_scheme": "first", "split": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}},
    {"normalizer": {"type": "Prepend", "prepend": "_"}},
    {"normalizer": {"type": "Lowercase"}},
    {"more": (
        added("<|x|>", 258, rstrip=True), added("<|y|>", 259, lstrip=True), added("<think>", 260, special=False),
    )},
    {"more": (added("<|y|>", 258, normalized=True), added("<|x|>", 259, normalized=False))},
], ids=["prefix", "prepend", "lowercase", "strips", "normalized"])
@given(OWN)
def test_other_tokenizers_see_the_text_as_a_whole(kinds: dict[str, Any], text: str) -> None:
    """As the library itself does with the control tokens that are meant."""
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_str(json.dumps(table(**kinds)))
    model = small("{{ 'x' }}" + text, **kinds)
    assert model.prompt(Body(TextPrompt(f"x{text}"))) == tuple(theirs.encode(f"x{text}").ids)
    assert model.prompt(said("")) == tuple(theirs.encode(f"x{text}".removesuffix("\n"), add_special_tokens=False).ids)
    theirs.encode_special_tokens = True
    assert model.encode(text) == tuple(theirs.encode(text, add_special_tokens=False).ids)


def test_a_text_prompt_begins_as_the_tokenizer_says() -> None:
    around = {"type": "TemplateProcessing", "pair": [], "special_tokens": {
        word: {"id": word, "ids": [at], "tokens": [word]} for word, at in (("<s>", BEGIN), ("</s>", END))
    }, "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": "</s>", "type_id": 0}}]}
    model = small(PLAIN, post_processor=around)
    assert shown(model.prompt(Body(TextPrompt("<s>a")))) == "[[a]"
    assert shown(model.prompt(said("a"))) == "[user:a][", "a template writes its own"
    assert shown(model.encode("a")) == "a"


def test_control_tokens_keep_their_ids_wherever_they_are() -> None:
    """In some files the model itself knows them, with ids below those of its letters."""
    inside = table()
    inside["model"]["vocab"] = {"<s>": 0, "</s>": 1} | {
        letter: at + 2 for letter, at in inside["model"]["vocab"].items()
    }
    a, y = (inside["model"]["vocab"][letter] for letter in "ay")
    inside["added_tokens"] = [added("<s>", 0), added("</s>", 1), added("<x>", 258), added("y", y, special=False)]
    model = load_model_text(json.dumps(inside).encode(), PLAIN + "<x>", {})
    tokens = model.prompt(said("</s>y<x>"))
    assert [at for at in tokens if at in (0, 1, 258)] == [0, 1, 0, 258]
    assert model.encode("ay") == (a, y)


def test_truncation_and_padding_in_the_file_do_not_count() -> None:
    cut = {**table(), "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
           "padding": {"strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                       "pad_type_id": 0, "pad_token": "!"}}
    assert len(load_model_text(json.dumps(cut).encode(), None, {}).encode("abcdef")) == 6


def test_markers_of_a_tool_format_are_text() -> None:
    more = (added("[TOOL_CALLS]", 258), added("<tool_call>", 259, special=False))
    assert small(more=more).vocabulary.text([258, 259]) == "<tool_call>"
    assert small(more=more, tool_format="mistral").vocabulary.text([258, 259]) == "[TOOL_CALLS]<tool_call>"


def broken(**changes: Any) -> bytes:
    return json.dumps({**table(), **changes}).encode()


@pytest.mark.parametrize(("raw", "template", "tokens", "field"), [
    (b"", None, {}, "tokenizer"),
    (b"\xff", None, {}, "tokenizer"),
    (b"{}", None, {}, "tokenizer"),
    (broken(model={"type": "Magic", "vocab": {"a": 0}}), None, {}, "tokenizer"),
    (broken(added_tokens=[added("<s>", 300)]), None, {}, "tokenizer"),
    (broken(added_tokens=[added("Z", 57)]), None, {}, "tokenizer"),
    (broken(added_tokens=[added("<s>", 256, single_word=True)]), None, {}, "tokenizer"),
    (broken(), "{% for %}", {}, "template"),
    (broken(), "x" * (MAX_TEMPLATE + 1), {}, "template"),
    (broken(), None, {str(at): "" for at in range(17)}, "template_tokens"),
])
def test_files_that_cannot_be_used(raw: bytes, template: str | None, tokens: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model_text(raw, template, tokens)
    assert caught.value.field == field
    with pytest.raises(ConfigError):
        load_model_text(broken(), None, {}, tool_format="klingon")
