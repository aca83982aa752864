"""langchain-openai: ChatOpenAI over chat completions and over responses, and OpenAI over completions."""

from __future__ import annotations

from typing import Any, Literal

import openai
from cases import BASE, BUSY, CITIES, KEY, MODEL, case, raises, seen
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

HELLO = [SystemMessage("You are brief."), HumanMessage("Say hello.")]
ASK = "What is the weather in Paris?"


class Place(BaseModel):
    """A place."""

    city: Literal["Paris", "London", "Rome"]


@tool
def get_weather(city: Literal["Paris", "London", "Rome"]) -> str:
    """The weather in a city."""
    return "Sunny."


def chat(base: str = BASE, **more: Any) -> ChatOpenAI:
    settings: dict[str, Any] = {
        "model": MODEL, "base_url": base, "api_key": KEY, "max_retries": 0, "max_tokens": 64, "temperature": 0,
    }
    return ChatOpenAI(**{**settings, **more})


@case("chat")
def _() -> str:
    said = chat(max_tokens=12).invoke(HELLO)
    assert said.usage_metadata
    return repr(said.content)


@case("stream")
def _() -> str:
    chunks = list(chat(max_tokens=12, temperature=0.5, stream_usage=True).stream(HELLO))
    assert any(chunk.usage_metadata for chunk in chunks), "no chunk has usage"
    return f"{len(chunks)} chunks"


@case("chat: a batch, with stop and logprobs")
def _() -> str:
    found = chat(max_tokens=8, logprobs=True, top_logprobs=2, stop=["###"], seed=1).batch(["One.", "Two.", "Three."])
    assert all(one.response_metadata["logprobs"]["content"] for one in found)
    return f"{len(found)} answers"


@case("tools")
def _() -> str:
    said = chat().bind_tools([get_weather], tool_choice="any").invoke(ASK)
    assert said.tool_calls[0]["args"]["city"] in CITIES
    turns = [HumanMessage(ASK), said, ToolMessage("Sunny.", tool_call_id=said.tool_calls[0]["id"])]
    again = chat(max_tokens=12).bind_tools([get_weather]).invoke(turns)
    assert isinstance(again, AIMessage)
    return str(said.tool_calls[0]["args"])


@case("tools: streamed")
def _() -> str:
    whole: Any = None
    for chunk in chat().bind_tools([get_weather], tool_choice="get_weather").stream(ASK):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"]["city"] in CITIES
    return str(whole.tool_calls)


@case("schema")
def _() -> str:
    for method in ("json_schema", "function_calling"):
        said: Any = chat().with_structured_output(Place, method=method).invoke(ASK)
        assert said.city in CITIES
    return "by json_schema and by function_calling"


@case("completions")
def _() -> str:
    model = OpenAI(model=MODEL, base_url=BASE, api_key=KEY, max_retries=0, max_tokens=8)
    return repr(model.invoke("The sea is")) + repr("".join(model.stream("The sea is")))


@case("responses")
def _() -> str:
    model = chat(use_responses_api=True)
    said = model.invoke("Say hello.")
    chunks = list(model.stream("Say hello."))
    assert said.usage_metadata
    return f"{len(chunks)} chunks"


@case("responses: tools")
def _() -> str:
    said = chat(use_responses_api=True).bind_tools([get_weather], tool_choice="any").invoke(ASK)
    assert said.tool_calls[0]["args"]["city"] in CITIES
    return str(said.tool_calls[0]["args"])


@case("errors")
def _() -> str:
    raises(openai.AuthenticationError, lambda: chat(api_key="sk-wrong").invoke(HELLO))
    raises(openai.NotFoundError, lambda: chat(model="no-such-model").invoke(HELLO))
    return str(raises(openai.BadRequestError, lambda: chat(temperature=-3).invoke(HELLO)))


@case("retry")
def _() -> str:
    chat(base=BUSY + "/v1", max_retries=2, max_tokens=4).invoke(HELLO)
    assert [one["status"] for one in seen("/v1/chat/completions")][-2:] == [429, 200]
    return ""
