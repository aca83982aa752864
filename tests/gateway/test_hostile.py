"""Whatever JSON comes: an answer, or an error that names what is wrong; never a fault of the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.serving_limits import MAX_JSON_DEPTH
from tests.gateway.asking import ask, chat
from tests.gateway.scripted import ScriptedBackend

CHAT = "/v1/chat/completions"
SMALL = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]%s}'


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b'"x"', b"7", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"a":NaN}',
    b'{"a":-Infinity}', b"{'a':1}",
    b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,}', b"[" * 100_000, b'{"a":' * 100_000, b"{}" * 2,
    SMALL % b',"x":"\\ud800"', SMALL % b',"n":1,"n":2',
    SMALL % (b',"x":' + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH),
    b'{"model":"tiny","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
])
async def test_what_two_readers_could_read_in_two_ways_is_refused(raw: bytes) -> None:
    reply = await ask(ScriptedBackend(), CHAT, raw=raw)
    assert reply.status == 400
    assert reply.error["message"]


async def test_depth_within_the_bound_is_read() -> None:
    raw = SMALL % (b',"x":' + b"[" * (MAX_JSON_DEPTH - 2) + b"]" * (MAX_JSON_DEPTH - 2))
    assert (await ask(ScriptedBackend(), CHAT, raw=raw)).status == 200
    assert (await ask(ScriptedBackend(), CHAT, raw=SMALL % b',"x":"\\ud83d\\ude00 \\u0000"')).status == 200


@pytest.mark.parametrize(("kind", "status"), [
    ("application/json", 200), ("application/json; charset=utf-8", 200), ("Application/JSON;charset=UTF-8", 200),
    ("application/json; charset=latin-1", 415), ("text/plain", 415), ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data; boundary=x", 415), ("", 415), ("application/vnd.api+json", 200), ("text/x+json", 415),
])
async def test_only_json_is_taken(kind: str, status: int) -> None:
    assert (await ask(ScriptedBackend(), CHAT, chat(), headers={"Content-Type": kind})).status == status


async def test_a_compressed_body_is_refused() -> None:
    assert (await ask(ScriptedBackend(), CHAT, chat(), headers={"Content-Encoding": "gzip"})).status == 415


BASES: dict[str, dict[str, Any]] = {
    CHAT: chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}], tool_choice="auto",
               stop=["x"], logit_bias={"7": 1}, response_format={"type": "text"},
               stream_options={"include_usage": True}, n=1,
               top_p=1, seed=1, logprobs=True, top_logprobs=1, user="u", metadata={"a": "b"}),
    "/v1/completions": {"model": "tiny", "prompt": ["a"], "logprobs": 1, "echo": False, "max_tokens": 3},
    "/v1/responses": {"model": "tiny", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "y"},
    ], "tools": [{"type": "function", "name": "f"}], "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"}, "include": ["x"], "metadata": {}, "previous_response_id": None},
    "/v1/messages": {"model": "tiny", "max_tokens": 5, "system": [{"type": "text", "text": "s"}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "y"}]},
    ], "tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "auto"}, "thinking": {"type": "disabled"},
        "stop_sequences": ["x"], "output_config": {"effort": "low"}},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "auto", "text", "user", "function", "json_schema", "tool_result", "\x00",
                       "\U0001f600"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "name", "content", "role", "function", "format", "x"]), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [deeper for name, one in inner for deeper in places(one, (*path, name))]


def changed(base: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """`base` with another value at `path`."""
    found: dict[str, Any] = json.loads(json.dumps(base))
    at: Any = found
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return found


@settings(max_examples=400)
@given(path=st.sampled_from(sorted(BASES)), data=st.data())
def test_a_request_with_one_wrong_value_is_answered_or_refused(path: str, data: st.DataObject) -> None:
    body = changed(BASES[path], data.draw(st.sampled_from(places(BASES[path]))), data.draw(VALUES))
    reply = trio.run(ask, ScriptedBackend(), path, body)
    assert reply.status in (200, 400, 404), reply.body
    if reply.status != 200:
        assert reply.error["message"]


@settings(max_examples=100)
@given(path=st.sampled_from(sorted(BASES)), body=st.dictionaries(
    st.sampled_from(["model", "messages", "input", "prompt", "max_tokens", "tools", "stream"]), VALUES))
def test_a_request_of_any_values_is_answered_or_refused(path: str, body: dict[str, Any]) -> None:
    assert trio.run(ask, ScriptedBackend(), path, body).status in (200, 400, 404)


@pytest.mark.parametrize("path", sorted(BASES))
async def test_each_base_is_taken(path: str) -> None:
    assert (await ask(ScriptedBackend(), path, BASES[path])).status == 200
