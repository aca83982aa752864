"""/v1/responses: what it takes, the order of its events, and the templates of OpenResponses' compliance test."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.errors import Unavailable
from p2p.gateway.app import new_app
from p2p.gateway.core.pieces import Reason
from tests.gateway.asking import Reply, ask
from tests.gateway.scripted import Answer, ScriptedBackend, calling, saying, shown

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "get_weather", "description": "of a place", "parameters": {
    "type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}
# the members that OpenResponses' schema of a response requires
REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "user", "usage",
    "max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier",
    "prompt_cache_key",
}


def message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


TEMPLATES: dict[str, tuple[dict[str, Any], str]] = {
    "basic": ({"input": [message("user", "Say hello in exactly 3 words.")]}, "Hello to you"),
    "system prompt": ({"input": [message("system", "You are a pirate."), message("user", "Say hello.")]}, "Ahoy"),
    "tools": ({"input": [message("user", "What's the weather?")], "tools": [TOOL]},
              calling(("get_weather", {"location": "San Francisco"}))),
    "several turns": ({"input": [message("user", "My name is Alice."), message("assistant", "Hello Alice!"),
                                 message("user", "What is my name?")]}, "Alice"),
}


async def response(body: dict[str, Any], backend: ScriptedBackend | None = None) -> Reply:
    return await ask(backend or ScriptedBackend(), PATH, {"model": "tiny", **body})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_compliance_template_is_answered(name: str, stream: bool) -> None:
    body, text = TEMPLATES[name]
    reply = await response(body | {"stream": stream}, saying(text))
    assert reply.status == 200, reply.body
    found = reply.events[-2][1]["response"] if stream else reply.json
    assert set(found) >= REQUIRED
    assert found["status"] == "completed"
    kind = "function_call" if name == "tools" else "message"
    assert [item["type"] for item in found["output"]] == [kind]
    if kind == "message":
        assert found["output"][0]["content"][0]["text"] == text
        assert set(found["output"][0]["content"][0]) == {"type", "text", "annotations", "logprobs"}
    if name == "tools" and stream:
        names = [event for event, _ in reply.events]
        assert "response.function_call_arguments.delta" in names
        assert "response.function_call_arguments.done" in names


async def test_an_image_is_refused_by_its_path() -> None:
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": "data:"}]
    reply = await response({"input": [message("user", parts)]})
    assert (reply.status, reply.error["param"]) == (400, "input[0].content[1].type")
    assert "text only" in reply.error["message"]


async def test_the_events_of_a_text_come_in_order() -> None:
    names = [name.removeprefix("response.") for name, _ in (
        await response({"input": "hi", "stream": True}, saying("Hello", chunk=5))
    ).events]
    assert names == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed", "",
    ]


async def test_the_events_of_a_text_and_a_call_come_in_order() -> None:
    text = calling(("get_weather", {"location": "x"}), before="Let me see.")
    names = [name.removeprefix("response.") for name, _ in (
        await response({"input": "hi", "stream": True, "tools": [TOOL]}, saying(text, chunk=1000))
    ).events]
    assert names == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed", "",
    ]


async def test_an_answer_that_was_cut_is_incomplete() -> None:
    backend = saying("Hello", reason=Reason.LENGTH)
    found = (await response({"input": "hi"}, backend)).json
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert found["output"][0]["status"] == "incomplete"
    events = (await response({"input": "hi", "stream": True}, backend)).events
    assert events[-2][0] == "response.incomplete"


async def test_a_stream_that_fails_ends_with_failed() -> None:
    backend = ScriptedBackend(lambda asked: Answer("Hel", fail_after=Unavailable("the executor is gone")))
    name, event = (await response({"input": "hi", "stream": True}, backend)).events[-2]
    assert (name, event["response"]["status"]) == ("response.failed", "failed")
    assert event["response"]["error"] == {"code": "server_error", "message": "the executor is gone"}


async def test_calls_and_results_make_one_conversation() -> None:
    backend = ScriptedBackend()
    await response({"instructions": "be brief", "tools": [TOOL], "input": [
        message("user", [{"type": "input_text", "text": "Oslo?"}]),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
        message("assistant", [{"type": "output_text", "text": "I look."}]),
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]}, backend)
    assert shown(backend.asked[0].body).split("\n")[1:-1] == [
        "system: be brief", "user: Oslo?",
        "assistant: I look. <call>get_weather {}</call> <call>get_weather {}</call>", "tool: sunny", "tool: rain",
    ]


async def test_a_response_continues_an_earlier_one_unless_it_was_not_stored() -> None:
    backend = ScriptedBackend(lambda asked: Answer(f"answer {len(backend.asked)}"))
    app = new_app(backend)
    first = (await ask(app, PATH, {"model": "tiny", "input": "one", "instructions": "be brief"})).json
    second = (await ask(app, PATH, {"model": "tiny", "input": "two", "previous_response_id": first["id"],
                                    "store": False})).json
    assert second["previous_response_id"] == first["id"]
    assert shown(backend.asked[1].body) == "user: one\nassistant: answer 1\nuser: two\n"
    reply = await ask(app, PATH, {"model": "tiny", "input": "three", "previous_response_id": second["id"]})
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")
    assert reply.error["code"] == "previous_response_not_found"


@pytest.mark.parametrize(("body", "param"), [
    ({}, "input"), ({"input": []}, "input"), ({"input": "x", "background": True}, "background"),
    ({"input": "x", "conversation": "c"}, "conversation"), ({"input": "x", "prewarm": True}, "prewarm"),
    ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
    ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"input": "x", "tools": [{"type": "mcp"}]}, "tools[0].type"),
    ({"input": [{"type": "item_reference"}]}, "input[0].id"), ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": "x", "text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"input": "x", "truncation": "much"}, "truncation"), ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "x", "top_logprobs": 9}, "top_logprobs"), ({"input": [message("wizard", "x")]}, "input[0].role"),
])
async def test_what_cannot_be_followed_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    reply = await response(body)
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_what_codex_always_sends_is_taken() -> None:
    reply = await response({
        "input": [message("developer", [{"type": "input_text", "text": "x"}]), message("user", "hi")],
        "instructions": "You are an agent.", "tools": [TOOL, {"type": "web_search", "external_web_access": False}],
        "tool_choice": "auto", "parallel_tool_calls": False, "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False, "stream": True, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "thread-1",
        "text": {"verbosity": "medium"}, "service_tier": "auto", "client_metadata": {"a": "b"},
    })
    assert reply.status == 200, reply.body
    assert reply.headers["x-folkmoot-ignored"] == "reasoning, tools[1], text.verbosity"


async def test_a_schema_is_a_grammar_and_log_probabilities_come_where_they_are_wanted() -> None:
    backend = saying("{}")
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    found = (await response({"input": "x", "text": {"format": form}, "top_logprobs": 2,
                             "include": ["message.output_text.logprobs"]}, backend)).json
    assert backend.asked[0].body.grammar is not None
    assert found["text"]["format"] == form
    assert [one["token"] for one in found["output"][0]["content"][0]["logprobs"]] == ["{", "}"]


async def test_a_call_that_was_cut_is_incomplete() -> None:
    text = '<call>get_weather {"location": "Par'
    for stream in (False, True):
        reply = await response({"input": "hi", "tools": [TOOL], "stream": stream}, saying(text, reason=Reason.LENGTH))
        found = reply.events[-2][1]["response"] if stream else reply.json
        assert (found["status"], found["output"][0]["status"]) == ("incomplete", "incomplete")


async def test_a_form_beside_tools_is_one_grammar() -> None:
    backend, form = saying("{}"), {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    await response({"input": "x", "tools": [TOOL], "text": {"format": form}}, backend)
    grammar = backend.asked[0].body.grammar
    assert grammar is not None
    assert grammar.source == 'calls of get_weather, or {"type":"object"}'


async def test_an_answer_is_there_again_until_it_is_deleted() -> None:
    app = new_app(ScriptedBackend())
    first = (await ask(app, PATH, {"model": "tiny", "input": "one"})).json
    turn = [message("user", [{"type": "input_text", "text": "two"}]) | {"id": None}, message("assistant", "so?")]
    last = await ask(app, PATH, {"model": "tiny", "input": turn, "previous_response_id": first["id"], "stream": True})
    second = last.events[-2][1]["response"]
    assert (await ask(app, f"{PATH}/{first['id']}")).json == first
    assert (await ask(app, f"{PATH}/{second['id']}/")).json == second
    items = (await ask(app, f"{PATH}/{second['id']}/input_items?order=asc")).json
    assert [(one["role"], one["content"][0]["text"]) for one in items["data"]] == [
        ("user", "one"), ("assistant", "Hello there."), ("user", "two"), ("assistant", "so?")]
    assert all(one["id"] for one in items["data"])
    assert (items["object"], items["has_more"], items["first_id"]) == ("list", False, items["data"][0]["id"])
    newest = (await ask(app, f"{PATH}/{second['id']}/input_items?limit=1")).json
    assert (newest["data"], newest["has_more"]) == (items["data"][-1:], True)
    rest = (await ask(app, f"{PATH}/{second['id']}/input_items?after={newest['last_id']}&limit=2")).json
    assert rest["data"] == items["data"][2:0:-1]
    assert (await ask(app, f"{PATH}/{first['id']}", method="DELETE")).json == {
        "id": first["id"], "object": "response", "deleted": True}
    for path, method in ((first["id"], "GET"), (first["id"], "DELETE"), (f"{first['id']}/input_items", "GET")):
        assert (await ask(app, f"{PATH}/{path}", method=method)).status == 404
    assert len((await ask(app, f"{PATH}/{second['id']}/input_items")).json["data"]) == 2, "what came before is gone"


@pytest.mark.parametrize(("path", "method", "param"), [
    ("?stream=true", "GET", "stream"), ("/cancel", "POST", "response_id"), ("/input_items?limit=0", "GET", "limit"),
    ("/input_items?limit=x", "GET", "limit"), ("/input_items?order=up", "GET", "order"),
    ("/input_items?after=x", "GET", "after"),
])
async def test_what_cannot_be_asked_of_an_answer_is_refused_by_its_name(path: str, method: str, param: str) -> None:
    app = new_app(ScriptedBackend())
    made = (await ask(app, PATH, {"model": "tiny", "input": "one"})).json["id"]
    reply = await ask(app, f"{PATH}/{made}{path}", method=method)
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_an_item_of_an_earlier_answer_is_sent_by_its_id() -> None:
    backend = saying(calling(("get_weather", {"location": "x"}), before="I look."))
    app = new_app(backend)
    made = (await ask(app, PATH, {"model": "tiny", "input": "one", "tools": [TOOL]})).json["output"]
    said = [{"type": "item_reference", "id": made[0]["id"]}, {"id": made[1]["id"]}]
    result = {"type": "function_call_output", "call_id": made[1]["call_id"], "output": "sunny"}
    reply = await ask(app, PATH, {"model": "tiny", "input": [message("user", "one"), *said, result]})
    assert reply.status == 200, reply.body
    assert shown(backend.asked[1].body) == (
        'user: one\nassistant: I look. <call>get_weather {"location": "x"}</call>\ntool: sunny\n')
    reply = await ask(app, PATH, {"model": "tiny", "input": [{"type": "item_reference", "id": "msg_x"}]})
    assert (reply.status, reply.error["param"]) == (404, "input[0].id")


async def test_tokens_of_an_input_are_counted() -> None:
    found = (await ask(ScriptedBackend(), f"{PATH}/input_tokens", {"model": "tiny", "input": "hi"})).json
    assert found == {"object": "response.input_tokens", "input_tokens": len("user: hi\n")}
