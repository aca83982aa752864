"""A stream and an answer in one piece are the same answer, in every API, however the pieces come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from p2p.base.errors import Overloaded
from p2p.base.serving_limits import HEADERS_WAIT_S
from p2p.gateway.http import sse
from tests.gateway.asking import Reply, ask
from tests.gateway.scripted import ScriptedBackend, calling, saying

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6,
)
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<>\x00"), max_size=30)
CALLS = st.lists(st.tuples(st.sampled_from(["weather", "clock"]), st.dictionaries(st.text("ab", max_size=3), JSON)),
                 max_size=3)
TOOLS = ("weather", "clock")


def both(text: str, chunk: int, path: str, body: dict[str, Any]) -> tuple[Any, Reply]:
    """(the answer in one piece, the stream) for the same words."""

    async def run() -> tuple[Any, Reply]:
        backend: ScriptedBackend = saying(text, chunk=chunk)
        whole = await ask(backend, path, body)
        assert whole.status == 200, whole.body
        return whole.json, await ask(backend, path, body | {"stream": True})

    return trio.run(run)


def property_of(test: Callable[..., None]) -> Any:
    return settings(max_examples=60)(given(words=WORDS, calls=CALLS, chunk=st.integers(1, 12))(test))


@property_of
def test_chat(words: str, calls: list[tuple[str, Any]], chunk: int) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in TOOLS]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    whole, stream = both(calling(*calls, before=words), chunk, "/v1/chat/completions", body)
    text, found, finish = "", [], None
    for _, event in stream.events[:-1]:
        choice = event["choices"][0]
        text += choice["delta"].get("content") or ""
        for part in choice["delta"].get("tool_calls", ()):
            if part["index"] == len(found):
                found.append({"name": part["function"]["name"], "arguments": ""})
            found[part["index"]]["arguments"] += part["function"]["arguments"]
        finish = finish or choice["finish_reason"]
    message = whole["choices"][0]["message"]
    assert text == (message["content"] or "")
    assert found == [call["function"] for call in message.get("tool_calls", ())]
    assert [(call["name"], json.loads(call["arguments"])) for call in found] == calls
    assert finish == whole["choices"][0]["finish_reason"] == ("tool_calls" if calls else "stop")


@property_of
def test_messages(words: str, calls: list[tuple[str, Any]], chunk: int) -> None:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]
    body = {"model": "tiny", "max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    whole, stream = both(calling(*calls, before=words), chunk, "/v1/messages", body)
    blocks: list[Any] = []
    for name, event in stream.events:
        assert name == event["type"]
        if name == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"] | {"partial": ""})
        elif name == "content_block_delta":
            delta = event["delta"]
            blocks[event["index"]]["partial"] += delta.get("text", "") + delta.get("partial_json", "")
        elif name == "message_delta":
            assert event["delta"]["stop_reason"] == whole["stop_reason"]
            assert event["usage"] == whole["usage"]
    for streamed, complete in zip(blocks, whole["content"], strict=True):
        assert streamed["type"] == complete["type"]
        if complete["type"] == "text":
            assert streamed["partial"] == complete["text"]
        else:
            assert (streamed["name"], json.loads(streamed["partial"])) == (complete["name"], complete["input"])
    assert stream.events[-1][0] == "message_stop"


@property_of
def test_responses(words: str, calls: list[tuple[str, Any]], chunk: int) -> None:
    tools = [{"type": "function", "name": name} for name in TOOLS]
    body = {"model": "tiny", "input": "hi", "tools": tools}
    whole, stream = both(calling(*calls, before=words), chunk, "/v1/responses", body)
    events = stream.events[:-1]
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert all(name == event["type"] for name, event in events)
    joined: dict[int, str] = {}
    for name, event in events:
        if name.endswith(".delta"):
            joined[event["output_index"]] = joined.get(event["output_index"], "") + event["delta"]
        elif name.endswith("text.done"):
            assert joined.get(event["output_index"], "") == event["text"]
        elif name.endswith("arguments.done"):
            assert joined.get(event["output_index"], "") == event["arguments"]
    last = events[-1][1]["response"]

    def plain(response: Any) -> list[Any]:
        """The output without its random ids."""
        return [{name: value for name, value in item.items() if name not in ("id", "call_id")}
                for item in response["output"]]

    assert plain(last) == plain(whole)
    assert last["status"] == whole["status"] == "completed"


@given(st.text("ab:\n\r ", max_size=20), st.sampled_from(["", "ping"]))
def test_an_event_is_read_as_it_was_written(data: str, name: str) -> None:
    """As the standard says that a reader joins the lines of `data`."""
    packed = sse.pack_event(name, data.encode()).decode()
    assert packed.endswith("\n\n")
    lines = packed[:-2].split("\n")
    assert [line for line in lines if line.startswith("event: ")] == ([f"event: {name}"] if name else [])
    read = "\n".join(line.removeprefix("data: ") for line in lines if line.startswith("data: "))
    assert read == data.replace("\r\n", "\n").replace("\r", "\n")
    assert len([line for line in lines if not line.startswith(("data: ", "event: "))]) == 0


@pytest.mark.parametrize(("path", "asked"), [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/completions", {"prompt": "hi"}),
    ("/v1/responses", {"input": "hi"}),
    ("/v1/messages", {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}),
])
def test_the_first_word_is_in_the_first_write(path: str, asked: dict[str, Any]) -> None:
    _, stream = both("unmistakable words", 30, path, {"model": "tiny"} | asked)
    assert b"unmistakable" in stream.writes[0]
    assert len(stream.writes) > 1


BUSY = Overloaded("every peer is busy", field="agent", retry_after=3)
STREAMED = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_a_refusal_that_takes_long_still_has_its_status(autojump_clock: MockClock) -> None:
    found = await ask(saying("", wait_s=HEADERS_WAIT_S - 1, fail_first=BUSY), "/v1/chat/completions", STREAMED)
    assert (found.status, found.headers["retry-after"], found.error["code"]) == (429, "3", "overloaded")


async def test_one_that_takes_longer_ends_the_stream(autojump_clock: MockClock) -> None:
    found = await ask(saying("", wait_s=HEADERS_WAIT_S + 1, fail_first=BUSY), "/v1/chat/completions", STREAMED)
    assert found.status == 200
    assert [event["error"]["code"] for _, event in found.events if "error" in event] == ["overloaded"]
