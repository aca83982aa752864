"""open-webui's requests, replayed: what its backend sends for an OpenAI connection.

It is a web application of a gigabyte with a database and a login, so it does not run here; these are its requests, as
its router for OpenAI connections makes them.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from cases import BASE, KEY, MODEL, WEATHER, case

# The headers that name the user are sent where its administrator switched that on.
client = httpx.Client(base_url=BASE, timeout=180, trust_env=False, headers={
    "authorization": f"Bearer {KEY}", "content-type": "application/json",
    "x-openwebui-user-name": "Somebody", "x-openwebui-user-id": "b1", "x-openwebui-user-email": "somebody@example.org",
    "x-openwebui-user-role": "user", "x-openwebui-chat-id": "c1",
})
TITLE = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
    '### Output:\nJSON format: { "title": "your concise title here" }\n'
    "### Chat History:\n<chat_history>\nUSER: Say hello.\nASSISTANT: Hello.\n</chat_history>"
)


def stream(body: dict[str, Any]) -> list[dict[str, Any]]:
    with client.stream("POST", "/chat/completions", json=body) as answer:
        assert answer.status_code == 200, f"HTTP {answer.status_code}: {answer.read()[:300]!r}"
        # it decides by this header whether to pass the answer on as a stream
        assert "text/event-stream" in answer.headers["content-type"], answer.headers["content-type"]
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
    assert lines[-1] == "data: [DONE]", lines[-1]
    return [json.loads(line.removeprefix("data:")) for line in lines[:-1]]


@case("models")
def _() -> str:
    found = client.get("/models")
    assert found.status_code == 200
    said = found.json()
    assert isinstance(said["data"], list)
    assert MODEL in [one["id"] for one in said["data"]]
    return ""


@case("chat")
def _() -> str:
    chunks = stream({
        "stream": True, "model": MODEL, "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Say hello."}],
    })
    assert any(chunk.get("usage") for chunk in chunks)
    return f"{len(chunks)} chunks"


@case("chat: with its advanced parameters")
def _() -> str:
    chunks = stream({
        "stream": True, "model": MODEL, "messages": [
            {"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "Say it again."}]},
        ],
        "temperature": 0.8, "top_p": 0.9, "max_tokens": 16, "stop": ["###"], "seed": 3, "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
    })
    return f"{len(chunks)} chunks"


@case("title, tags, follow-ups")
def _() -> str:
    for limit in ({"max_completion_tokens": 40}, {"max_tokens": 40}, {"max_completion_tokens": 40}):
        answer = client.post("/chat/completions", json={
            "model": MODEL, "messages": [{"role": "user", "content": TITLE}], "stream": False, **limit,
        })
        assert answer.status_code == 200, answer.text[:300]
        assert isinstance(answer.json()["choices"][0]["message"]["content"], str)
    return ""


@case("tools: native function calling")
def _() -> str:
    tool = {"type": "function", "function": WEATHER}
    chunks = stream({
        "stream": True, "model": MODEL, "tools": [tool], "stream_options": {"include_usage": True}, "max_tokens": 40,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    })
    again = stream({
        "stream": True, "model": MODEL, "tools": [tool], "max_tokens": 16, "messages": [
            {"role": "user", "content": "What is the weather in Paris?"},
            {"role": "assistant", "content": "", "tool_calls": [{
                "index": 0, "id": "call_1", "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
            }]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
        ],
    })
    return f"{len(chunks)} and {len(again)} chunks"


@case("errors: its message is shown")
def _() -> str:
    answer = client.post("/chat/completions", json={
        "stream": True, "model": "no-such-model", "messages": [{"role": "user", "content": "Hello"}],
    })
    assert answer.status_code == 404, answer.status_code
    said = answer.json()
    assert said["error"]["message"], said  # it shows error.message, or the whole body
    return str(said["error"]["message"])
