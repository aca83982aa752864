"""/v1/messages: what it takes, and its answers in Anthropic's words."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.body import Chat
from p2p.base.errors import Overloaded, Unavailable
from p2p.gateway.core.pieces import Reason
from tests.gateway.asking import Reply, ask
from tests.gateway.scripted import Answer, ScriptedBackend, calling, saying, shown

PATH = "/v1/messages"
TOOL = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}
CLOCK = {"name": "clock", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}


async def messages(backend: ScriptedBackend | None = None, **more: Any) -> Reply:
    body = {"model": "tiny", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **more}
    return await ask(backend or ScriptedBackend(), PATH, {name: value for name, value in body.items() if value != "-"})


async def test_every_block_reaches_the_body() -> None:
    backend = ScriptedBackend()
    reply = await messages(backend, system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], messages=[
        {"role": "user", "content": [{"type": "text", "text": "Oslo?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "t2", "name": "clock", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "no clock", "is_error": True},
            {"type": "text", "text": "Well?"},
        ]},
    ])
    assert reply.status == 200, reply.body
    assert shown(backend.asked[0].body).split("\n")[:-1] == [
        "system: a", "b", "user: Oslo?",
        'assistant: I look. <call>weather {"city":"Oslo"}</call> <call>clock {}</call>',
        "tool: sunny", "tool: Error: no clock", "user: Well?",
    ]
    assert reply.headers["x-folkmoot-ignored"] == "messages[1].content[0]"


async def test_an_answer_has_text_and_uses_of_tools() -> None:
    text = calling(("weather", {"city": "Oslo"}), ("clock", {}), before="I look.")
    found = (await messages(saying(text), tools=[TOOL, CLOCK])).json
    assert (found["type"], found["role"], found["stop_reason"]) == ("message", "assistant", "tool_use")
    assert [(one["type"], one.get("text", one.get("input"))) for one in found["content"]] == [
        ("text", "I look."), ("tool_use", {"city": "Oslo"}), ("tool_use", {}),
    ]


async def test_arguments_that_are_no_object_are_told_as_they_are() -> None:
    found = (await messages(saying('<call>weather {"city": </call>'), tools=[TOOL])).json
    assert found["content"][0]["input"] == {"_unparsed": '{"city": '}


@pytest.mark.parametrize(("reason", "told"), [
    (Reason.STOP, ("end_turn", None)), (Reason.LENGTH, ("max_tokens", None)),
    (Reason.STOP_STRING, ("stop_sequence", "END")),
])
async def test_the_reason_of_the_end_is_told(reason: Reason, told: tuple[str, str | None]) -> None:
    found = (await messages(saying("x", reason=reason), stop_sequences=["END"])).json
    assert (found["stop_reason"], found["stop_sequence"]) == told


@pytest.mark.parametrize(("choice", "source", "tools"), [
    (None, None, 2), ({"type": "auto"}, None, 2), ({"type": "none"}, None, 0),
    ({"type": "any"}, "calls of weather, clock", 2), ({"type": "tool", "name": "clock"}, "calls of clock", 2),
])
async def test_a_choice_of_tools_is_a_grammar_or_none(choice: Any, source: str | None, tools: int) -> None:
    backend = ScriptedBackend()
    await messages(backend, tools=[TOOL, CLOCK], tool_choice=choice)
    body = backend.asked[0].body
    assert (None if body.grammar is None else body.grammar.source) == source
    assert isinstance(body.prompt, Chat)
    assert len(body.prompt.tools) == tools


async def test_only_one_call_where_no_more_are_wanted() -> None:
    text = calling(("weather", {}), ("clock", {}))
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    found = (await messages(saying(text), tools=[TOOL, CLOCK], tool_choice=choice)).json
    assert [one["name"] for one in found["content"]] == ["weather"]


async def test_a_last_message_of_the_assistant_is_continued() -> None:
    backend = ScriptedBackend()
    await messages(backend, messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}])
    assert isinstance(backend.asked[0].body.prompt, Chat)
    assert backend.asked[0].body.prompt.continues


@pytest.mark.parametrize(("more", "param"), [
    ({"max_tokens": "-"}, "max_tokens"), ({"messages": []}, "messages"), ({"model": "-"}, "model"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].type"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema"), ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"mcp_servers": [{}]}, "mcp_servers"), ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
    ({"temperature": 2.1}, "temperature"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits[0].type"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
])
async def test_what_cannot_be_followed_is_refused_by_its_name(more: dict[str, Any], param: str) -> None:
    reply = await messages(**more)
    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["message"].startswith(f"{param}: ")


async def test_what_claude_code_always_sends_is_taken() -> None:
    reply = await ask(ScriptedBackend(), f"{PATH}?beta=true", {
        "model": "tiny", "max_tokens": 32_000, "stream": True, "temperature": 1, "metadata": {"user_id": "u_session_1"},
        "system": [{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "tools": [CLOCK],
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }, headers={"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,context-management-2025"})
    assert reply.status == 200, reply.body
    assert reply.headers["x-folkmoot-ignored"] == "thinking, output_config.effort"


async def test_the_events_come_in_order() -> None:
    text = calling(("clock", {}), before="Let me see.")
    names = [name for name, _ in (await messages(saying(text, chunk=1000), stream=True, tools=[CLOCK])).events]
    assert names == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]


async def test_a_stream_that_fails_ends_with_an_error() -> None:
    backend = ScriptedBackend(lambda asked: Answer("Hel", fail_after=Unavailable("gone")))
    name, event = (await messages(backend, stream=True)).events[-1]
    assert (name, event["type"], event["error"]) == ("error", "error", {"type": "overloaded_error", "message": "gone"})


async def test_an_error_has_the_apis_own_envelope_and_the_requests_id() -> None:
    reply = await messages(ScriptedBackend(lambda asked: Answer(fail_first=Overloaded("busy", retry_after=3))))
    assert (reply.status, reply.headers["retry-after"]) == (429, "3")
    assert reply.error["type"] == "rate_limit_error"
    assert reply.json["request_id"] == reply.headers["request-id"]


async def test_cached_tokens_are_counted_apart() -> None:
    usage = (await messages(saying("four", cached=3))).json["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (6, 3, 5)


async def test_tokens_are_counted_without_asking_anybody() -> None:
    backend = ScriptedBackend()
    reply = await ask(backend, f"{PATH}/count_tokens", {"model": "tiny", "system": "x", "messages": [
        {"role": "user", "content": "hi"}]})
    assert (reply.json, backend.asked) == ({"input_tokens": len("system: x\nuser: hi\n")}, [])


async def test_a_conversation_is_not_held_here_and_the_sdk_is_told_in_the_words_that_it_knows() -> None:
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        reply = await messages(thread=thread)
        assert (reply.status, reply.error["details"]) == (
            400, {"error_code": "thread_unsupported_request", "unsupported": ["thread"]})
    assert (await messages(thread=None)).status == 200
