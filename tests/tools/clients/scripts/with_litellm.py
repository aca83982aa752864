"""litellm: its OpenAI-compatible route, and the routes that speak the other two APIs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import litellm
from cases import BASE, BUSY, CITIES, KEY, MODEL, PLACE, URL, WEATHER, case, raises, seen

litellm.telemetry = False
HELLO: Any = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Say hello."}]
ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS: Any = [{"type": "function", "function": WEATHER}]


def complete(messages: Any = HELLO, base: str = BASE, **more: Any) -> Any:
    settings = {
        "model": f"openai/{MODEL}", "api_key": KEY, "max_tokens": 12, "temperature": 0, "num_retries": 0,
        "max_retries": 0,
    }
    return litellm.completion(**{**settings, "messages": messages, "api_base": base, **more})


@case("chat")
def _() -> str:
    found = complete()
    assert found.usage.total_tokens > 0
    return repr(found.choices[0].message.content)


@case("chat: the hosted_vllm route")
def _() -> str:
    return repr(complete(model=f"hosted_vllm/{MODEL}").choices[0].message.content)


@case("stream")
def _() -> str:
    chunks = list(complete(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens > 0
    return f"{len(chunks)} chunks"


@case("async")
def _() -> str:
    async def ask() -> int:
        stream: Any = await litellm.acompletion(
            model=f"openai/{MODEL}", messages=HELLO, api_base=BASE, api_key=KEY, max_tokens=8, stream=True,
        )
        return len([chunk async for chunk in stream])

    return f"{asyncio.run(ask())} chunks"


@case("tools")
def _() -> str:
    found = complete(ASK, tools=TOOLS, tool_choice="required", max_tokens=64)
    call = found.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in CITIES
    return call.function.arguments


@case("tools: streamed")
def _() -> str:
    chunks = list(complete(ASK, tools=TOOLS, tool_choice="required", max_tokens=64, stream=True))
    found: Any = litellm.stream_chunk_builder(chunks)
    call = found.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in CITIES
    return call.function.arguments


@case("schema")
def _() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": PLACE}}
    said = complete(ASK, response_format=form, max_tokens=64).choices[0].message.content
    assert json.loads(said)["city"] in CITIES
    return said


@case("completions")
def _() -> str:
    found: Any = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt="The sea is", api_base=BASE, api_key=KEY, max_tokens=8,
    )
    return repr(found.choices[0].text)


@case("responses")
def _() -> str:
    found: Any = litellm.responses(
        model=f"openai/{MODEL}", input="Say hello.", api_base=BASE, api_key=KEY, max_output_tokens=12,
    )
    events = list(litellm.responses(
        model=f"openai/{MODEL}", input="Say hello.", api_base=BASE, api_key=KEY, max_output_tokens=12, stream=True,
    ))
    return f"{found.status}, {len(events)} events"


@case("anthropic route")
def _() -> str:
    found = complete(model=f"anthropic/{MODEL}", base=URL)
    chunks = list(complete(model=f"anthropic/{MODEL}", base=URL, stream=True))
    assert [one["status"] for one in seen("/v1/messages")] == [200, 200]
    return f"{found.choices[0].finish_reason}, {len(chunks)} chunks"


@case("errors")
def _() -> str:
    raises(litellm.AuthenticationError, lambda: complete(api_key="sk-wrong"))
    raises(litellm.NotFoundError, lambda: complete(model="openai/no-such-model"))
    return str(raises(litellm.BadRequestError, lambda: complete(temperature=-3)))


@case("errors: a prompt that is too long")
def _() -> str:
    long = [{"role": "user", "content": "sea " * 20000}]
    return type(raises(litellm.BadRequestError, lambda: complete(long))).__name__


@case("retry")
def _() -> str:
    complete(base=BUSY + "/v1", num_retries=2)
    assert [one["status"] for one in seen("/v1/chat/completions")][-2:] == [429, 200]
    return ""
