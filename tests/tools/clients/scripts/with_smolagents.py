"""smolagents: its OpenAI model alone, and one step of an agent."""

from __future__ import annotations

from typing import Any

from cases import BASE, BUSY, CITIES, KEY, MODEL, PLACE, asked, case, raises, seen
from smolagents import ChatMessage, CodeAgent, MessageRole, OpenAIModel, Tool, ToolCallingAgent

HELLO = [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": "Say hello."}])]


class Weather(Tool):
    name = "get_weather"
    description = "The weather in a city"
    inputs = {"city": {"type": "string", "description": "The city", "enum": CITIES}}  # noqa: RUF012
    output_type = "string"

    def forward(self, city: str) -> str:
        return "Sunny."


def model(base: str = BASE, name: str = MODEL, **more: Any) -> OpenAIModel:
    return OpenAIModel(model_id=name, api_base=base, api_key=KEY, **{"max_tokens": 12, **more})


@case("chat")
def _() -> str:
    found = model().generate(HELLO)
    assert found.token_usage
    return repr(found.content)


@case("stream")
def _() -> str:
    parts = list(model().generate_stream(HELLO))
    assert any(part.token_usage for part in parts)
    return f"{len(parts)} parts"


@case("tools")
def _() -> str:
    found = model(max_tokens=64, temperature=0).generate(HELLO, tools_to_call_from=[Weather()])
    assert found.tool_calls
    assert found.tool_calls[0].function.name == "get_weather"
    return str(found.tool_calls[0].function.arguments)


@case("schema")
def _() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": PLACE}}
    return repr(model(max_tokens=64, temperature=0).generate(HELLO, response_format=form).content)


@case("agent: one step of tool calls")
def _() -> str:
    agent = ToolCallingAgent(tools=[Weather()], model=model(max_tokens=96), max_steps=1, verbosity_level=0)
    said = agent.run("The weather?")
    return f"{asked('/v1/chat/completions')}; {str(said)[:60]!r}"


@case("agent: one step of code")
def _() -> str:
    said = CodeAgent(tools=[], model=model(max_tokens=48), max_steps=1, verbosity_level=0).run("What is 2 + 2?")
    return f"{asked('/v1/chat/completions')}; {str(said)[:60]!r}"


@case("errors")
def _() -> str:
    return str(raises(Exception, lambda: model(name="no-such-model").generate(HELLO)))


@case("retry")
def _() -> str:
    model(base=BUSY + "/v1").generate(HELLO)
    assert [one["status"] for one in seen("/v1/chat/completions")][-2:] == [429, 200]
    return ""
