"""openai-agents: runs over chat completions and over responses, with a tool and with a typed result."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from cases import BASE, CITIES, KEY, MODEL, case, raises
from openai import AsyncOpenAI, NotFoundError
from pydantic import BaseModel

set_tracing_disabled(True)
# an answer of the responses API that is cut is an exception here: this one ends by itself
SHORT, LONGER = ModelSettings(max_tokens=256, temperature=0), ModelSettings(max_tokens=64, temperature=0)
ASK = "What is the weather in Paris?"
calls: list[str] = []


class Place(BaseModel):
    city: Literal["Paris", "London", "Rome"]


@function_tool
def get_weather(city: Literal["Paris", "London", "Rome"]) -> str:
    """The weather in a city."""
    calls.append(city)
    return "Sunny."


def model(kind: Any, name: str = MODEL) -> Any:
    return kind(model=name, openai_client=AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0))


def agent(kind: Any, settings: ModelSettings = SHORT, **more: Any) -> Agent[Any]:
    return Agent(name="A", instructions="You are brief.", model=model(kind), model_settings=settings, **more)


def both(words: str, check: Any) -> None:
    """One case over each API."""
    for api, kind in (("chat completions", OpenAIChatCompletionsModel), ("responses", OpenAIResponsesModel)):
        case(f"{words}, {api}")(lambda kind=kind: asyncio.run(check(kind)))


async def run(kind: Any) -> str:
    found = await Runner.run(agent(kind), "Say hello.")
    return repr(found.final_output)


async def stream(kind: Any) -> str:
    found = Runner.run_streamed(agent(kind), "Say hello.")
    kinds = [event.type async for event in found.stream_events()]
    assert "raw_response_event" in kinds, kinds
    return f"{len(kinds)} events, {found.final_output!r}"


async def tool(kind: Any) -> str:
    calls.clear()
    # the run sets tool_choice back after the first call
    settings = ModelSettings(max_tokens=64, temperature=0, tool_choice="required")
    found = await Runner.run(agent(kind, settings, tools=[get_weather]), ASK, max_turns=4)
    assert calls[0] in CITIES
    return f"{len(calls)} calls, then {found.final_output!r}"


async def tool_streamed(kind: Any) -> str:
    calls.clear()
    settings = ModelSettings(max_tokens=64, temperature=0, tool_choice="get_weather")
    found = Runner.run_streamed(agent(kind, settings, tools=[get_weather]), ASK, max_turns=4)
    async for _ in found.stream_events():
        pass
    assert calls[0] in CITIES
    return f"{len(calls)} calls"


async def typed(kind: Any) -> str:
    found = await Runner.run(agent(kind, LONGER, output_type=Place), ASK)
    assert found.final_output.city in CITIES
    return repr(found.final_output)


both("chat", run)
both("stream", stream)
both("tools", tool)
both("tools: streamed", tool_streamed)
both("schema", typed)


@case("errors")
def _() -> str:
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        other = Agent(name="A", model=model(kind, "no-such-model"))
        error = raises(NotFoundError, lambda other=other: Runner.run_sync(other, "Say hello."))
    return str(error)
