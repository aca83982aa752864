"""What /v1/chat/completions makes of a request: the question, or the name of the parameter that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2p.base.body import Chat, ChatMessage, GrammarKind, Role, ToolCall
from p2p.base.errors import InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.types import Params
from p2p.gateway.core.backend import Asked
from p2p.gateway.core.pieces import Reason
from p2p.verification.tape import seed_of
from tests.gateway.asking import Reply, ask, chat
from tests.gateway.scripted import BASE, EXECUTOR, MODEL, Answer, ScriptedBackend, calling, inference, saying

PATH = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
OTHER = {"type": "function", "function": {"name": "clock"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


async def question(**more: Any) -> Asked:
    """The question that a request becomes."""
    backend = ScriptedBackend()
    reply = await ask(backend, PATH, chat(**more))
    assert reply.status == 200, reply.body
    return backend.asked[0]


async def refused(status: int = 400, **more: Any) -> dict[str, Any]:
    """The error that a request gets; nothing was asked."""
    backend = ScriptedBackend()
    reply = await ask(backend, PATH, chat(**more))
    assert (reply.status, backend.asked) == (status, [])
    return reply.error


async def test_every_role_and_part_reaches_the_body() -> None:
    backend = ScriptedBackend()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    await ask(backend, PATH, {"model": MODEL, "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "why?"},
    ]})
    prompt = backend.asked[0].body.prompt
    assert isinstance(prompt, Chat)
    assert prompt.messages == (
        ChatMessage(Role.SYSTEM, "be brief"), ChatMessage(Role.USER, "one\ntwo", name="Ann"),
        ChatMessage(Role.ASSISTANT, "", (ToolCall("c1", "f", '{"a":1}'),)),
        ChatMessage(Role.TOOL, "42", (), "c1"), ChatMessage(Role.ASSISTANT, "no"), ChatMessage(Role.USER, "why?"),
    )


@pytest.mark.parametrize(("sent", "params"), [
    ({}, {"temperature_milli": 1000}),
    ({"temperature": 0}, {"temperature_milli": 0}),
    ({"temperature": 0.7, "top_k": 40, "top_p": 0.9}, {"temperature_milli": 700, "top_k": 40, "top_p_milli": 900}),
    ({"top_p": 0.9}, {"temperature_milli": 1000, "top_k": 64, "top_p_milli": 900}),
    ({"top_p": 1, "top_k": -1}, {"temperature_milli": 1000}),
    ({"min_p": 0.05, "repetition_penalty": 1.1}, {"temperature_milli": 1000, "min_p_milli": 50,
                                                  "repetition_milli": 1100}),
    ({"presence_penalty": -1, "frequency_penalty": 0.5}, {"temperature_milli": 1000, "presence_milli": -1000,
                                                          "frequency_milli": 500}),
    ({"min_tokens": 3, "max_tokens": 5}, {"temperature_milli": 1000, "min_tokens": 3}),
    ({"ignore_eos": True, "max_tokens": 5}, {"temperature_milli": 1000, "min_tokens": 5}),
    ({"seed": -7}, {"temperature_milli": 1000, "seed": seed_of(-7)}),
])
async def test_sampling_is_signed_as_it_was_sent(sent: dict[str, Any], params: dict[str, Any]) -> None:
    assert (await question(**sent)).params == Params(**params)


async def test_each_of_several_answers_has_a_seed_of_its_own() -> None:
    backend = ScriptedBackend()
    reply = await ask(backend, PATH, chat(n=3, seed=5))
    assert {asked.params.seed for asked in backend.asked} == {seed_of(5), seed_of(6), seed_of(7)}
    assert [choice["index"] for choice in reply.json["choices"]] == [0, 1, 2]
    assert reply.headers["x-folkmoot-inference"].count(",") == 2


async def test_stop_bias_and_bounds_reach_the_question() -> None:
    bias = {"7": 1.5, "3": -100, "9": 0}
    asked = await question(stop=["a", "b"], logit_bias=bias, max_completion_tokens=9, max_tokens=8)
    assert (asked.body.stop, asked.body.bias, asked.max_tokens) == (("a", "b"), ((3, -100_000), (7, 1500)), 9)
    assert (await question(stop="x")).body.stop == ("x",)


async def test_an_answer_without_a_bound_has_4096_tokens_at_most_and_never_more_than_the_context() -> None:
    assert (await question()).max_tokens == 4096
    assert (await question(max_tokens=100_000)).max_tokens == 8192 - len("user: hi\n")
    error = await refused(content="x" * 9000)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


FUNCTION = TOOL["function"]
CLOSED = json.dumps({**SCHEMA, "additionalProperties": False}, separators=(",", ":"))


@pytest.mark.parametrize(("sent", "kind", "source"), [
    ({"response_format": {"type": "json_object"}}, GrammarKind.JSON_OBJECT, ""),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
     GrammarKind.JSON_SCHEMA, CLOSED),
    ({"guided_regex": "[a-z]+"}, GrammarKind.REGEX, "[a-z]+"),
    ({"guided_choice": ["yes", "no"]}, GrammarKind.CHOICE, '["yes","no"]'),
    ({"structured_outputs": {"json": SCHEMA}}, GrammarKind.JSON_SCHEMA, CLOSED),
    ({"structured_outputs": {"grammar": 'start: "a"'}}, GrammarKind.LARK, 'start: "a"'),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, GrammarKind.JSON_SCHEMA, CLOSED),
    ({"tools": [TOOL], "response_format": {"type": "json_object"}}, GrammarKind.LARK, "calls of weather, or "),
    ({"tools": [TOOL], "tool_choice": "none", "response_format": {"type": "json_object"}}, GrammarKind.JSON_OBJECT, ""),
    ({"tools": [TOOL], "tool_choice": "required", "guided_choice": ["a"]}, GrammarKind.LARK, "calls of weather"),
])
async def test_every_form_of_an_answer_is_one_grammar(sent: dict[str, Any], kind: GrammarKind, source: str) -> None:
    grammar = (await question(**sent)).body.grammar
    assert grammar is not None
    assert (grammar.kind, grammar.source) == (kind, source)


async def test_text_is_no_grammar() -> None:
    assert (await question(response_format={"type": "text"})).body.grammar is None


@pytest.mark.parametrize(("sent", "param"), [
    ({"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, "messages[0].content[0].type"),
    ({"content": [{"type": "input_audio"}]}, "messages[0].content[0].type"),
    ({"content": [{"type": "text"}]}, "messages[0].content[0].text"),
    ({"content": 7}, "messages[0].content"),
    ({"temperature": "hot"}, "temperature"), ({"temperature": True}, "temperature"), ({"top_p": 1.01}, "top_p"),
    ({"top_p": 0.5, "top_k": 65}, "top_k"), ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"n": 17}, "n"), ({"seed": 2**63}, "seed"), ({"max_tokens": 0}, "max_tokens"),
    ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"), ({"stop": ["a"] * 5}, "stop"), ({"stop": [""]}, "stop[0]"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"), ({"logit_bias": {"7": 101}}, "logit_bias.7"),
    ({"logit_bias": {"70000": 1}}, "logit_bias"), ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 9}, "top_logprobs"), ({"stream": 1}, "stream"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"guided_regex": "a", "guided_choice": ["a"]}, "structured_outputs"),
    ({"tools": [TOOL], "guided_regex": "[a-z]+"}, "tools"), ({"guided_whitespace_pattern": "[ ]*"},
                                                            "guided_whitespace_pattern"),
    ({"tools": [TOOL, TOOL]}, "tools[1].name"), ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "nix"}}}, "tool_choice.function.name"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    ({"functions": [{}]}, "functions[0].name"), ({"functions": [FUNCTION], "tools": [TOOL]}, "functions"),
    ({"functions": [FUNCTION], "function_call": {"name": "nix"}}, "function_call.name"),
    ({"functions": [FUNCTION], "tool_choice": "auto"}, "tool_choice"),
    ({"functions": [FUNCTION], "function_call": "required"}, "function_call"),
    ({"function_call": {"name": "weather"}}, "function_call"), ({"audio": {"voice": "x"}}, "audio"),
    ({"best_of": 2}, "best_of"),
    ({"use_beam_search": True}, "use_beam_search"), ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ({"stop_token_ids": [2]}, "stop_token_ids"), ({"web_search_options": {}}, "web_search_options"),
    ({"modalities": ["text", "audio"]}, "modalities[1]"), ({"skip_special_tokens": False}, "skip_special_tokens"),
    ({"continue_final_message": True}, "continue_final_message"), ({"model": ""}, "model"),
    ({"repeat_penalty": 1.1}, "repeat_penalty"), ({"random_seed": 1}, "random_seed"), ({"grammar": "x"}, "grammar"),
])
async def test_what_cannot_be_followed_is_refused_by_its_name(sent: dict[str, Any], param: str) -> None:
    error = await refused(**sent)
    assert error["param"] == param
    assert error["message"]


async def test_what_changes_no_answer_is_ignored_and_what_has_no_effect_is_named() -> None:
    backend = ScriptedBackend()
    reply = await ask(backend, PATH, chat(
        store=True, service_tier="auto", safety_identifier="u", unheard_of={"a": 1}, best_of=1, functions=None,
        reasoning_effort="high",
    ))
    assert reply.status == 200
    assert reply.headers["x-folkmoot-ignored"] == "reasoning_effort, unheard_of"


async def test_a_name_that_no_header_may_have_is_named_without_harm() -> None:
    reply = await ask(ScriptedBackend(), PATH, chat(**{"a\r\nset-cookie: b": 1, "ö": 2, "empty": [], "no": None}))
    assert reply.headers["x-folkmoot-ignored"] == "a??set-cookie: b, ?"
    assert len((await ask(ScriptedBackend(), PATH, chat(**{"x" * 9000: 1}))).headers["x-folkmoot-ignored"]) == 1000


@pytest.mark.parametrize(("choice", "source", "shown"), [
    ("auto", None, ("weather", "clock")), (None, None, ("weather", "clock")), ("none", None, ()),
    ("required", "calls of weather, clock", ("weather", "clock")),
    ({"type": "function", "function": {"name": "clock"}}, "calls of clock", ("weather", "clock")),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}}, None, ("clock",)),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}}, "calls of clock", ("clock",)),
])
async def test_a_choice_of_tools_is_a_grammar_or_none(choice: Any, source: str | None, shown: tuple[str, ...]) -> None:
    asked = await question(tools=[TOOL, OTHER], tool_choice=choice)
    assert (None if asked.body.grammar is None else asked.body.grammar.source) == source
    assert isinstance(asked.body.prompt, Chat)
    assert tuple(tool.name for tool in asked.body.prompt.tools) == shown


async def test_calls_come_back_as_tool_calls() -> None:
    backend = saying(calling(("weather", {"city": "Łódź"}), ("clock", {}), before="I look. "), chunk=4)
    choice = (await ask(backend, PATH, chat(tools=[TOOL, OTHER]))).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    calls = choice["message"]["tool_calls"]
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == [
        ("weather", {"city": "Łódź"}), ("clock", {}),
    ]
    assert len({call["id"] for call in calls}) == 2


async def test_a_call_alone_has_no_content_and_one_call_is_enough_where_no_more_are_wanted() -> None:
    backend = saying("\n" + calling(("weather", {}), ("clock", {})) + "\n")
    message = (await ask(backend, PATH, chat(tools=[TOOL], parallel_tool_calls=False))).json["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather"]


async def test_without_tools_a_call_is_text() -> None:
    text = calling(("weather", {}))
    assert (await ask(saying(text), PATH, chat())).json["choices"][0]["message"]["content"] == text


async def test_a_model_without_tools_or_template_says_what_to_do() -> None:
    no_template = (await ask(ScriptedBackend(), PATH, chat() | {"model": BASE})).error
    assert "/v1/completions" in no_template["message"]
    cards = tuple(type(card)(**{name: getattr(card, name) for name in card.__slots__} | {"tool_format": "none"})
                  for card in ScriptedBackend().cards)
    error = (await ask(ScriptedBackend(cards=cards), PATH, chat(tools=[TOOL]))).error
    assert error["param"] == "tools"


@pytest.mark.parametrize(("reason", "finish"), [
    (Reason.STOP, "stop"), (Reason.STOP_STRING, "stop"), (Reason.LENGTH, "length"),
])
async def test_the_reason_of_the_end_is_told(reason: Reason, finish: str) -> None:
    assert (await ask(saying("x", reason=reason), PATH, chat())).json["choices"][0]["finish_reason"] == finish


async def test_usage_counts_what_is_charged_and_what_was_cached() -> None:
    usage = (await ask(saying("four", cached=5), PATH, chat(n=2))).json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (18, 10, 28)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 10}


async def test_log_probabilities_show_each_token_but_the_end() -> None:
    choice = (await ask(saying("hé"), PATH, chat(logprobs=True, top_logprobs=2))).json["choices"][0]
    content = choice["logprobs"]["content"]
    assert [(one["token"], one["bytes"]) for one in content] == [("h", [104]), ("é", [195, 169])]
    assert [one["token"] for one in content[0]["top_logprobs"]] == ["h", "x"]


async def test_headers_name_inference_executor_and_price() -> None:
    reply = await ask(ScriptedBackend(), PATH, chat(), headers={"X-Request-ID": "mine-1"})
    assert reply.headers["x-folkmoot-inference"] == inference(0)
    assert reply.headers["x-folkmoot-executor"] == EXECUTOR
    assert reply.headers["x-folkmoot-price"] == "3"
    assert reply.headers["x-request-id"] == reply.headers["request-id"] == "mine-1"


@pytest.mark.parametrize(("error", "status", "wait"), [
    (Overloaded("all are busy", retry_after=7), 429, "7"), (Unavailable("nobody answers"), 503, "1"),
    (RemoteProtocolError("the receipt is wrong"), 502, None),
])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_has_its_status(
    error: Exception, status: int, wait: str | None, stream: bool,
) -> None:
    backend = ScriptedBackend(lambda asked: Answer(fail_first=error))  # type: ignore[arg-type]
    reply: Reply = await ask(backend, PATH, chat(stream=stream))
    assert (reply.status, reply.headers.get("retry-after")) == (status, wait)


async def test_a_bound_on_the_price_is_handed_on() -> None:
    backend = ScriptedBackend()
    await ask(backend, PATH, chat(), headers={"X-Folkmoot-Max-Price": "9"})
    assert backend.asked[0].max_price_micro == 9
    assert (await ask(backend, PATH, chat(), headers={"X-Folkmoot-Max-Price": "-1"})).status == 400


async def test_an_unknown_model_is_404() -> None:
    reply = await ask(ScriptedBackend(), PATH, chat() | {"model": "gpt-4"})
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_form_that_gives_way_to_a_call_is_named() -> None:
    reply = await ask(saying(calling(("weather", {}))), PATH, chat(
        tools=[TOOL], tool_choice="required", response_format={"type": "json_object"},
    ))
    assert reply.headers["x-folkmoot-ignored"] == "response_format"


@pytest.mark.parametrize("stream", [False, True])
async def test_functions_of_old_are_tools_and_answered_in_their_words(stream: bool) -> None:
    backend = saying(calling(("weather", {"city": "Oslo"}), ("clock", {})), chunk=4)
    reply = await ask(backend, PATH, chat(functions=[FUNCTION], function_call={"name": "weather"}, stream=stream))
    grammar = backend.asked[0].body.grammar
    assert grammar is not None
    assert grammar.source == "calls of weather"
    if stream:
        chunks = [event["choices"][0] for _, event in reply.events[:-1]]
        parts = [chunk["delta"]["function_call"] for chunk in chunks if "function_call" in chunk["delta"]]
        assert parts[0] == {"name": "weather", "arguments": ""}
        call = {"name": "weather", "arguments": "".join(part["arguments"] for part in parts)}
        assert not any("tool_calls" in chunk["delta"] for chunk in chunks)
        finish = chunks[-1]["finish_reason"]
    else:
        choice = reply.json["choices"][0]
        call, finish = choice["message"]["function_call"], choice["finish_reason"]
        assert "tool_calls" not in choice["message"]
        assert choice["message"]["content"] is None
    assert (call["name"], json.loads(call["arguments"]), finish) == ("weather", {"city": "Oslo"}, "function_call")


async def test_what_a_function_of_old_returned_answers_its_call() -> None:
    backend = ScriptedBackend()
    said = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    turns = [{"role": "user", "content": "?"}, said, {"role": "function", "name": "weather", "content": "sunny"}]
    assert (await ask(backend, PATH, {"model": "tiny", "messages": turns, "functions": [FUNCTION]})).status == 200
    prompt = backend.asked[0].body.prompt
    assert isinstance(prompt, Chat)
    assert [(one.role, one.content) for one in prompt.messages[1:]] == [("assistant", ""), ("tool", "sunny")]
    assert prompt.messages[2].call_id == prompt.messages[1].calls[0].id
    error = (await ask(backend, PATH, {"model": "tiny", "messages": [turns[0], turns[2]]})).error
    assert error["param"] == "messages[1].name"


@pytest.mark.parametrize("said", [{"prefix": True}, {}])
async def test_an_answer_continues_a_message_that_is_said_to_be_its_beginning(said: dict[str, bool]) -> None:
    backend = ScriptedBackend()
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Well,", **said}]
    assert (await ask(backend, PATH, {"model": "tiny", "messages": turns})).status == 200
    prompt = backend.asked[0].body.prompt
    assert isinstance(prompt, Chat)
    assert prompt.continues == bool(said)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("sent", "param"), [
    ({"guided_regex": "(?=a)"}, "guided_regex"), ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}}, "tools"),
    ({"functions": [FUNCTION], "function_call": {"name": "weather"}}, "functions"),
])
async def test_a_grammar_that_the_network_refuses_has_the_callers_name(
    sent: dict[str, Any], param: str, stream: bool
) -> None:
    backend = ScriptedBackend(lambda asked: Answer(fail_first=InvalidRequest("it does not compile", field="grammar")))
    reply = await ask(backend, PATH, chat(**sent, stream=stream))
    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["message"] == f"{param}: it does not compile"
