"""instructor: typed answers by tools, by JSON schema, and streamed in parts."""

from __future__ import annotations

from typing import Any, Literal

import instructor
from cases import BASE, CITIES, KEY, MODEL, case
from openai import OpenAI
from pydantic import BaseModel

ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


class Place(BaseModel):
    """A place."""

    city: Literal["Paris", "London", "Rome"]


def patched(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(OpenAI(base_url=BASE, api_key=KEY, max_retries=0), mode=mode)


def ask(mode: instructor.Mode) -> str:
    found = patched(mode).chat.completions.create(
        model=MODEL, messages=ASK, response_model=Place, max_tokens=64, temperature=0, max_retries=0,
    )
    assert found.city in CITIES
    return repr(found)


@case("tools")
def _() -> str:
    return ask(instructor.Mode.TOOLS)


@case("tools: strict")
def _() -> str:
    return ask(instructor.Mode.TOOLS_STRICT)


@case("schema")
def _() -> str:
    return ask(instructor.Mode.JSON_SCHEMA)


@case("schema: responses")
def _() -> str:
    client: Any = patched(instructor.Mode.RESPONSES_TOOLS)
    found = client.responses.create(model=MODEL, input=ASK, response_model=Place, max_output_tokens=64, max_retries=0)
    assert found.city in CITIES
    return repr(found)


@case("stream: in parts")
def _() -> str:
    parts = list(patched(instructor.Mode.TOOLS).chat.completions.create_partial(
        model=MODEL, messages=ASK, response_model=Place, max_tokens=64, temperature=0, max_retries=0,
    ))
    assert parts[-1].city in CITIES
    return f"{len(parts)} parts"


@case("chat")
def _() -> str:
    found: Any = patched(instructor.Mode.TOOLS).chat.completions.create(
        model=MODEL, messages=ASK, response_model=None, max_tokens=12,
    )
    return repr(found.choices[0].message.content)
