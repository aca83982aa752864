"""The openai package of PyPI: each of its ways to ask that a gateway serves."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
from cases import BASE, BUSY, CITIES, KEY, MODEL, PLACE, WEATHER, case, raises, seen
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=120)
HELLO: Any = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Say hello."}]
ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS: Any = [{"type": "function", "function": WEATHER}]
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}
FLAT: Any = [{"type": "function", **WEATHER, "strict": True}]  # a tool of the responses API
IMAGE: Any = [{"role": "user", "content": [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
]}]


class Place(BaseModel):
    city: Literal["Paris", "London", "Rome"]


@case("models")
def _() -> str:
    assert MODEL in [model.id for model in client.models.list()]
    return ""


@case("models: one")
def _() -> str:
    assert client.models.retrieve(MODEL).id == MODEL
    return ""


@case("chat")
def _() -> str:
    found = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, temperature=0, seed=1)
    assert found.usage
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.choices[0].finish_reason in ("stop", "length")
    assert found.choices[0].message.role == "assistant"
    return repr(found.choices[0].message.content)


@case("chat: several turns, parts of text, role developer")
def _() -> str:
    turns: Any = [
        {"role": "developer", "content": "You are brief."},
        {"role": "user", "content": [{"type": "text", "text": "My name is "}, {"type": "text", "text": "Alice."}]},
        {"role": "assistant", "content": "Hello Alice."}, {"role": "user", "content": "What is my name?"},
    ]
    found = client.chat.completions.create(model=MODEL, messages=turns, max_completion_tokens=12)
    return repr(found.choices[0].message.content)


@case("chat: sampling parameters")
def _() -> str:
    found = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=8, temperature=0.7, top_p=0.9, presence_penalty=0.5,
        frequency_penalty=0.5, logit_bias={"5": -100}, seed=7, user="somebody", metadata={"a": "b"}, store=False,
        extra_body={"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1},
    )
    return repr(found.choices[0].message.content)


@case("chat: stop")
def _() -> str:
    long: Any = [{"role": "user", "content": "Write one sentence about the sea."}]
    found = client.chat.completions.create(model=MODEL, messages=long, max_tokens=60, stop=[" the", "e"], temperature=0)
    assert found.choices[0].finish_reason == "stop"
    assert "e" not in (found.choices[0].message.content or "")
    return repr(found.choices[0].message.content)


@case("chat: n")
def _() -> str:
    found = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, n=2, temperature=1)
    assert [choice.index for choice in found.choices] == [0, 1]
    return ""


@case("chat: logprobs")
def _() -> str:
    found = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=3)
    said = found.choices[0].logprobs
    assert said
    assert said.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in said.content)
    return f"{len(said.content)} tokens"


@case("stream")
def _() -> str:
    with client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert [c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason] in (["stop"], ["length"])
    return repr("".join(c.choices[0].delta.content or "" for c in chunks[:-1]))


@case("stream: without usage")
def _() -> str:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=True))
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    return f"{len(chunks)} chunks"


@case("stream: the helper with events")
def _() -> str:
    # an answer that is cut by max_tokens is an exception of this helper, so the schema ends it
    with client.chat.completions.stream(
        model=MODEL, messages=ASK, response_format=Place, max_tokens=64, temperature=0,
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    return repr(final.choices[0].message.parsed)


@case("stream: left in the middle")
def _() -> str:
    with client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=200, stream=True) as stream:
        next(iter(stream))
    found = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4)
    return repr(found.choices[0].message.content)


@case("tools: named")
def _() -> str:
    found = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, tool_choice=NAMED, max_tokens=64, temperature=0,
    )
    call: Any = found.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in CITIES
    assert found.choices[0].finish_reason in ("tool_calls", "stop"), found.choices[0].finish_reason
    return call.function.arguments


@case("tools: required")
def _() -> str:
    found = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, tool_choice="required", max_tokens=64, temperature=0,
    )
    call: Any = found.choices[0].message.tool_calls[0]
    assert call.id
    assert found.choices[0].finish_reason == "tool_calls", found.choices[0].finish_reason
    assert json.loads(call.function.arguments)["city"] in CITIES
    return call.function.arguments


@case("tools: streamed")
def _() -> str:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, tool_choice="required", max_tokens=64, temperature=0, stream=True,
    )
    parts: list[Any] = []
    ends = []
    for chunk in stream:
        parts += chunk.choices[0].delta.tool_calls or []
        ends += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
    assert parts[0].id
    assert parts[0].function.name == "get_weather"
    arguments = "".join(part.function.arguments or "" for part in parts if part.index == 0)
    assert json.loads(arguments)["city"] in CITIES
    assert ends == ["tool_calls"], ends
    return f"{len(parts)} parts"


@case("tools: auto, and none")
def _() -> str:
    for choice in ("auto", "none"):
        client.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, tool_choice=choice, max_tokens=16)
    return ""


@case("tools: the result goes back")
def _() -> str:
    turns: Any = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    found = client.chat.completions.create(
        model=MODEL, messages=turns, tools=TOOLS, max_tokens=12, parallel_tool_calls=False,
    )
    return repr(found.choices[0].message.content)


@case("schema")
def _() -> str:
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": PLACE}}
    found = client.chat.completions.create(
        model=MODEL, messages=ASK, response_format=form, max_tokens=64, temperature=0,
    )
    assert json.loads(found.choices[0].message.content or "")["city"] in CITIES
    return found.choices[0].message.content or ""


@case("schema: parse")
def _() -> str:
    found = client.chat.completions.parse(
        model=MODEL, messages=ASK, response_format=Place, max_tokens=64, temperature=0,
    )
    assert found.choices[0].message.parsed
    return repr(found.choices[0].message.parsed)


@case("schema: json_object")
def _() -> str:
    form: Any = {"type": "json_object"}
    found = client.chat.completions.create(model=MODEL, messages=ASK, response_format=form, max_tokens=128)
    if found.choices[0].finish_reason == "stop":
        json.loads(found.choices[0].message.content or "")
    return f"{found.choices[0].finish_reason} {found.choices[0].message.content!r}"


@case("completions")
def _() -> str:
    found = client.completions.create(model=MODEL, prompt="The sea is", max_tokens=8, temperature=0, logprobs=2)
    assert found.object == "text_completion"
    assert found.usage
    return repr(found.choices[0].text)


@case("completions: streamed, and token ids")
def _() -> str:
    chunks = list(client.completions.create(model=MODEL, prompt=[504, 5733, 314], max_tokens=6, stream=True))
    return repr("".join(chunk.choices[0].text for chunk in chunks if chunk.choices))


@case("responses")
def _() -> str:
    found = client.responses.create(model=MODEL, input="Say hello.", instructions="Be brief.", max_output_tokens=16)
    assert found.status in ("completed", "incomplete")
    assert found.usage
    return f"{found.status} {found.output_text!r}"


@case("responses: streamed")
def _() -> str:
    events = list(client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created", kinds[0]
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds[-1]
    assert "response.output_text.delta" in kinds
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    return f"{len(events)} events"


@case("responses: the helper with events")
def _() -> str:
    with client.responses.stream(model=MODEL, input="Say hello.", max_output_tokens=64, temperature=0) as stream:
        kinds = {event.type for event in stream}
    assert "response.output_text.done" in kinds, kinds
    return f"{len(kinds)} kinds of events"


@case("responses: tools")
def _() -> str:
    found = client.responses.create(model=MODEL, input=ASK, tools=FLAT, tool_choice="required", max_output_tokens=64)
    call: Any = next(item for item in found.output if item.type == "function_call")
    assert json.loads(call.arguments)["city"] in CITIES
    turns: Any = [
        *ASK, {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."},
    ]
    again = client.responses.create(model=MODEL, input=turns, tools=FLAT, max_output_tokens=12, store=False)
    return f"{call.arguments} {again.output_text!r}"


@case("responses: schema")
def _() -> str:
    found = client.responses.parse(model=MODEL, input=ASK, text_format=Place, max_output_tokens=64)
    assert found.output_parsed
    return repr(found.output_parsed)


@case("errors: wrong key")
def _() -> str:
    other = client.with_options(api_key="sk-wrong")
    return str(raises(openai.AuthenticationError, lambda: other.chat.completions.create(model=MODEL, messages=HELLO)))


@case("errors: unknown model")
def _() -> str:
    error: Any = raises(
        openai.NotFoundError, lambda: client.chat.completions.create(model="no-such-model", messages=HELLO)
    )
    assert "no-such-model" in str(error), error
    return str(error)


@case("errors: unknown model, streamed")
def _() -> str:
    return str(raises(
        openai.NotFoundError, lambda: client.chat.completions.create(model="no-such", messages=HELLO, stream=True)
    ))


@case("errors: a parameter out of range")
def _() -> str:
    error: Any = raises(
        openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=HELLO, temperature=-3)
    )
    assert error.param is None or "temperature" in error.param, error.param
    assert "temperature" in str(error)
    return f"param {error.param!r}, code {error.code!r}: {error}"


@case("errors: a prompt that is too long")
def _() -> str:
    long: Any = [{"role": "user", "content": "sea " * 20000}]
    error: Any = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=long))
    return f"code {error.code!r}: {error}"


@case("errors: an image")
def _() -> str:
    error: Any = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=IMAGE))
    return str(error)


@case("retry")
def _() -> str:
    patient = OpenAI(base_url=BUSY + "/v1", api_key=KEY, max_retries=2, timeout=120)
    patient.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4)
    assert [one["status"] for one in seen("/v1/chat/completions")][-2:] == [429, 200]
    return "429 with Retry-After, then 200"


@case("retry: not asked for")
def _() -> str:
    hasty = OpenAI(base_url=BUSY + "/v1", api_key=KEY, max_retries=0, timeout=120)
    error = raises(openai.RateLimitError, lambda: hasty.completions.create(model=MODEL, prompt="a", max_tokens=1))
    return str(error)


@case("async")
def _() -> str:
    async def ask() -> int:
        async with AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=120) as other:
            async def one() -> int:
                stream = await other.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=8, stream=True)
                return len([chunk async for chunk in stream])

            return sum(await asyncio.gather(*(one() for _ in range(4))))

    return f"4 streams at once, {asyncio.run(ask())} chunks"
