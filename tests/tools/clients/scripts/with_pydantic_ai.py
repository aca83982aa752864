"""pydantic-ai: agents over chat completions, responses and messages."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from cases import BASE, CITIES, KEY, MODEL, URL, case, raises
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, UsageLimitExceeded, UsageLimits
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=BASE, api_key=KEY)
chat = OpenAIChatModel(MODEL, provider=provider)
responses = OpenAIResponsesModel(MODEL, provider=provider)
messages = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY))
SHORT: Any = {"max_tokens": 12}
LONGER: Any = {"max_tokens": 64, "temperature": 0}
ASK = "What is the weather in Paris?"


class Place(BaseModel):
    """A place."""

    city: Literal["Paris", "London", "Rome"]


@case("chat")
def _() -> str:
    found = Agent(chat, instructions="You are brief.").run_sync("Say hello.", model_settings=SHORT)
    again = Agent(chat).run_sync("Again.", model_settings=SHORT, message_history=found.all_messages())
    return f"{found.output!r} {again.usage}"


@case("stream")
def _() -> str:
    async def ask() -> str:
        async with Agent(chat).run_stream("Say hello.", model_settings=SHORT) as found:
            return "".join([piece async for piece in found.stream_text(delta=True)])

    said = asyncio.run(ask())
    assert said
    return repr(said)


@case("schema: by a tool")
def _() -> str:
    found = Agent(chat, output_type=Place).run_sync(ASK, model_settings=LONGER)
    assert found.output.city in CITIES
    return repr(found.output)


@case("schema: native")
def _() -> str:
    found = Agent(chat, output_type=NativeOutput(Place)).run_sync(ASK, model_settings=LONGER)
    assert found.output.city in CITIES
    return repr(found.output)


@case("schema: streamed")
def _() -> str:
    async def ask() -> Place:
        async with Agent(chat, output_type=Place).run_stream(ASK, model_settings=LONGER) as found:
            return await found.get_output()

    return repr(asyncio.run(ask()))


@case("tools")
def _() -> str:
    calls: list[str] = []
    agent = Agent(chat, output_type=Place)

    @agent.tool_plain
    def get_weather(city: Literal["Paris", "London", "Rome"]) -> str:
        """The weather in a city."""
        calls.append(city)
        return "Sunny."

    try:
        found = agent.run_sync(ASK, model_settings=LONGER, usage_limits=UsageLimits(request_limit=6))
    except UsageLimitExceeded:
        assert calls
        return f"the model called the tool {len(calls)} times and never the result"
    return f"{len(calls)} calls of the tool, then {found.output!r}"


@case("responses")
def _() -> str:
    found = Agent(responses, output_type=Place).run_sync(ASK, model_settings=LONGER)
    text = Agent(responses).run_sync("Say hello.", model_settings=SHORT)
    return f"{found.output!r} {text.output!r}"


@case("anthropic")
def _() -> str:
    found = Agent(messages, output_type=Place).run_sync(ASK, model_settings=LONGER)
    text = Agent(messages).run_sync("Say hello.", model_settings=SHORT)
    return f"{found.output!r} {text.output!r}"


@case("errors")
def _() -> str:
    other = OpenAIChatModel("no-such-model", provider=provider)
    error: Any = raises(ModelHTTPError, lambda: Agent(other).run_sync("Say hello."))
    assert error.status_code == 404
    return str(error)
