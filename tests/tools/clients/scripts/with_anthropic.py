"""The anthropic package of PyPI, over /v1/messages."""

from __future__ import annotations

import json
from typing import Any, Literal

import anthropic
from anthropic import Anthropic
from cases import BUSY, CITIES, KEY, MODEL, PLACE, URL, case, raises, seen
from pydantic import BaseModel

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=120)
HELLO: Any = [{"role": "user", "content": "Say hello."}]
ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS: Any = [{"name": "get_weather", "description": "The weather in a city", "input_schema": PLACE}]
STEADY: Any = {"temperature": 0}  # no argument of this release
IMAGE: Any = [{"role": "user", "content": [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
]}]


class Place(BaseModel):
    city: Literal["Paris", "London", "Rome"]


@case("models")
def _() -> str:
    return f"{len(list(client.models.list()))} models"


@case("chat")
def _() -> str:
    found = client.messages.create(model=MODEL, max_tokens=12, messages=HELLO, system="You are brief.")
    assert found.type == "message"
    assert found.role == "assistant"
    assert found.stop_reason in ("end_turn", "max_tokens"), found.stop_reason
    assert found.usage.input_tokens > 0
    assert found.usage.output_tokens > 0
    assert found.content[0].type == "text"
    return repr(found.content[0].text)


@case("chat: parts, system parts with cache_control, stop_sequences, sampling")
def _() -> str:
    system: Any = [{"type": "text", "text": "You are brief.", "cache_control": {"type": "ephemeral"}}]
    turns: Any = [
        {"role": "user", "content": [{"type": "text", "text": "My name is Alice."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello Alice."}]},
        {"role": "user", "content": [
            {"type": "text", "text": "Write a sentence.", "cache_control": {"type": "ephemeral"}},
        ]},
    ]
    # the sampling parameters are no arguments of this release any more; older releases send them
    found: Any = client.messages.create(
        model=MODEL, max_tokens=40, messages=turns, system=system, stop_sequences=["e"],
        metadata={"user_id": "somebody"}, extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 10},
    )
    assert found.stop_reason in ("stop_sequence", "end_turn", "max_tokens"), found.stop_reason
    return f"{found.stop_reason} {found.stop_sequence!r}"


@case("stream: raw events")
def _() -> str:
    kinds = [event.type for event in client.messages.create(model=MODEL, max_tokens=12, messages=HELLO, stream=True)]
    core = [kind for kind in kinds if kind != "ping"]
    assert core[0] == "message_start", core
    assert core[1] == "content_block_start", core
    assert core[-3:] == ["content_block_stop", "message_delta", "message_stop"], core[-3:]
    assert set(core[2:-3]) == {"content_block_delta"}, core
    return f"{len(kinds)} events"


@case("stream: the helper")
def _() -> str:
    with client.messages.stream(model=MODEL, max_tokens=12, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    assert final.usage.output_tokens > 0
    assert final.stop_reason in ("end_turn", "max_tokens")
    return repr(text)


@case("tools: any")
def _() -> str:
    found = client.messages.create(
        model=MODEL, max_tokens=64, extra_body=STEADY, messages=ASK, tools=TOOLS, tool_choice={"type": "any"},
    )
    call = next(block for block in found.content if block.type == "tool_use")
    assert call.input["city"] in CITIES
    assert found.stop_reason == "tool_use", found.stop_reason
    return json.dumps(call.input)


@case("tools: named, streamed")
def _() -> str:
    with client.messages.stream(
        model=MODEL, max_tokens=64, extra_body=STEADY, messages=ASK, tools=TOOLS,
        tool_choice={"type": "tool", "name": "get_weather"},
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    call = next(block for block in final.content if block.type == "tool_use")
    assert "input_json" in kinds, kinds
    assert call.input["city"] in CITIES
    return json.dumps(call.input)


@case("tools: auto, and the result goes back")
def _() -> str:
    turns: Any = [
        *ASK,
        {"role": "assistant", "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Sunny."}]},
            {"type": "text", "text": "And now?"},
        ]},
    ]
    found = client.messages.create(model=MODEL, max_tokens=12, messages=turns, tools=TOOLS)
    return str(found.stop_reason)


@case("schema")
def _() -> str:
    found = client.messages.parse(model=MODEL, max_tokens=64, extra_body=STEADY, messages=ASK, output_format=Place)
    assert found.parsed_output
    return repr(found.parsed_output)


@case("count_tokens")
def _() -> str:
    found = client.messages.count_tokens(model=MODEL, messages=ASK, system="You are brief.", tools=TOOLS)
    assert found.input_tokens > 0
    return f"{found.input_tokens} tokens"


@case("errors: wrong key")
def _() -> str:
    other = client.with_options(api_key="sk-wrong")
    return str(raises(
        anthropic.AuthenticationError, lambda: other.messages.create(model=MODEL, max_tokens=4, messages=HELLO)
    ))


@case("errors: unknown model")
def _() -> str:
    error: Any = raises(
        anthropic.NotFoundError, lambda: client.messages.create(model="no-such-model", max_tokens=4, messages=HELLO)
    )
    assert error.body["type"] == "error", error.body
    assert error.body["error"]["type"] == "not_found_error", error.body
    return str(error)


@case("errors: an image")
def _() -> str:
    return str(raises(
        anthropic.BadRequestError, lambda: client.messages.create(model=MODEL, max_tokens=4, messages=IMAGE)
    ))


@case("errors: no max_tokens")
def _() -> str:
    call = lambda: client.post("/v1/messages", cast_to=object, body={"model": MODEL, "messages": HELLO})  # noqa: E731
    return str(raises(anthropic.BadRequestError, call))


@case("retry")
def _() -> str:
    patient = Anthropic(base_url=BUSY, api_key=KEY, max_retries=2, timeout=120)
    patient.messages.create(model=MODEL, max_tokens=4, messages=HELLO)
    assert [one["status"] for one in seen("/v1/messages")][-2:] == [429, 200]
    return "429 with Retry-After, then 200"
