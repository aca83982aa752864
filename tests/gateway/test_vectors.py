"""The published schemas of OpenAI's API hold for all that the gateway takes and gives."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.asking import ask, chat
from tests.gateway.scripted import Answer, ScriptedBackend, calling, saying

FOLDER = Path(__file__).parents[2].parent / "shared" / "vectors" / "openai-api"
PATHS = {"CreateChatCompletionRequest": "/v1/chat/completions", "CreateCompletionRequest": "/v1/completions"}
REFUSED = {"list of prompts"}  # valid by the schema: log-probabilities of a prompt, which no artifact has
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]

needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the vectors are not at {FOLDER}")


def samples() -> list[Any]:
    if not FOLDER.is_dir():
        return []
    found = json.loads((FOLDER / "samples.json").read_text())["samples"]
    return [pytest.param(one, id=f"{one['schema']}: {one['why']}") for one in found if one["schema"] in PATHS]


@cache
def validator(name: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    defs = json.loads((FOLDER / "openai-schemas.json").read_text())["$defs"]
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": defs})


def check(name: str, found: Any) -> None:
    """`found` is valid by that schema."""
    wrong = [f"{list(error.path)}: {error.message}" for error in validator(name).iter_errors(found)]
    assert not wrong, wrong


@needs_vectors
@pytest.mark.parametrize("sample", samples())
async def test_a_request_is_taken_where_the_schema_takes_it(sample: dict[str, Any]) -> None:
    cards = ScriptedBackend().cards
    backend = ScriptedBackend(cards=(*cards, type(cards[0])("m", 4096, 1, "scripted")))
    reply = await ask(backend, PATHS[sample["schema"]], sample["instance"])
    if sample["valid"] and sample["why"] not in REFUSED:
        assert reply.status == 200, reply.body
    else:
        assert reply.status == 400
        check("ErrorResponse", reply.json)


CHATS = {
    "text": (chat(), "Hello"),
    "several": (chat(n=3), "Hello"),
    "log-probabilities": (chat(logprobs=True, top_logprobs=2), "Hé"),
    "cut": (chat(max_tokens=2), "Hello"),
    "a call": (chat(tools=TOOLS), calling(("f", {"a": 1}))),
    "two calls and text": (chat(tools=TOOLS), calling(("f", {}), ("f", {"b": [2]}), before="Let me see. ")),
}


@needs_vectors
@pytest.mark.parametrize("case", CHATS)
async def test_chat_answers_are_valid(case: str) -> None:
    body, text = CHATS[case]
    check("CreateChatCompletionResponse", (await ask(saying(text), "/v1/chat/completions", body)).json)


@needs_vectors
@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("case", CHATS)
async def test_chat_chunks_are_valid(case: str, usage: bool) -> None:
    body, text = CHATS[case]
    body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})
    events = (await ask(saying(text), "/v1/chat/completions", body)).events
    assert events[-1] == ("", "[DONE]")
    for _, chunk in events[:-1]:
        check("CreateChatCompletionStreamResponse", chunk)
    last = events[-2][1]
    assert (last["choices"] == [] and last["usage"]["prompt_tokens"] > 0) if usage else "usage" not in last


COMPLETIONS: dict[str, dict[str, Any]] = {
    "text": {"prompt": "Once"}, "tokens": {"prompt": [1, 2, 3]}, "several": {"prompt": ["a", "b"], "n": 2},
    "log-probabilities": {"prompt": "Once", "logprobs": 3}, "repeated": {"prompt": "Once ", "echo": True},
}


@needs_vectors
@pytest.mark.parametrize("case", COMPLETIONS)
async def test_completions_and_their_chunks_are_valid(case: str) -> None:
    body = {"model": "tiny", **COMPLETIONS[case]}
    backend = saying("upon a time")
    check("CreateCompletionResponse", (await ask(backend, "/v1/completions", body)).json)
    for _, chunk in (await ask(backend, "/v1/completions", body | {"stream": True})).events[:-1]:
        for choice in chunk["choices"]:
            # the API itself sends null until the end, which its schema forgets
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        check("CreateCompletionResponse", chunk)


@needs_vectors
async def test_models_are_valid() -> None:
    check("ListModelsResponse", (await ask(ScriptedBackend(), "/v1/models")).json)
    check("ListModelsResponse", (await ask(ScriptedBackend(cards=()), "/v1/models")).json)
    check("Model", (await ask(ScriptedBackend(), "/v1/models/tiny")).json)


@needs_vectors
@pytest.mark.parametrize(("path", "method"), [
    ("/v1/models/none", "GET"), ("/nothing", "GET"), ("/v1/chat/completions", "GET"), ("/v1/models", "DELETE"),
])
async def test_errors_are_valid(path: str, method: str) -> None:
    check("ErrorResponse", (await ask(ScriptedBackend(), path, method=method)).json)


@needs_vectors
async def test_a_stream_that_fails_says_so_in_a_valid_error() -> None:
    from p2p.base.errors import Unavailable

    backend = ScriptedBackend(lambda asked: Answer("Hel", fail_after=Unavailable("the executor is gone")))
    events = (await ask(backend, "/v1/chat/completions", chat(stream=True))).events
    check("ErrorResponse", events[-2][1])
    assert all(chunk["choices"][0]["finish_reason"] is None for _, chunk in events[:-2])
