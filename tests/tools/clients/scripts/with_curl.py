"""curl: the commands of a manual page."""

from __future__ import annotations

import json
from typing import Any

from cases import BASE, KEY, MODEL, case, command

AUTH = ["-H", f"Authorization: Bearer {KEY}"]
JSON = ["-H", "Content-Type: application/json"]
HELLO = [{"role": "user", "content": "Say hello."}]


def curl(*arguments: str) -> str:
    return command(["curl", "-sS", "-N", "--max-time", "120", *arguments])


def post(path: str, body: dict[str, Any], *more: str) -> str:
    return curl(*AUTH, *JSON, "-d", json.dumps(body), *more, BASE + path)


def refused(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Status and error of a request that must fail."""
    text, _, status = curl("-w", "\n%{http_code}", *arguments).strip().rpartition("\n")
    return int(status), json.loads(text)["error"]


@case("models")
def _() -> str:
    found = json.loads(curl(*AUTH, BASE + "/models"))
    assert found["object"] == "list"
    assert MODEL in [one["id"] for one in found["data"]]
    return f"{len(found['data'])} models"


@case("chat")
def _() -> str:
    found = json.loads(post("/chat/completions", {"model": MODEL, "messages": HELLO, "max_tokens": 12}))
    choice = found["choices"][0]
    assert found["object"] == "chat.completion"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"]
    return repr(choice["message"]["content"])


@case("stream")
def _() -> str:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 12, **options}
    lines = [line for line in post("/chat/completions", body).splitlines() if line.startswith("data:")]
    assert lines[-1] == "data: [DONE]", lines[-1]
    chunks = [json.loads(line.removeprefix("data:")) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    ends = [c["choices"][0]["finish_reason"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]]
    assert len(ends) == 1, ends
    return f"{len(chunks)} chunks"


@case("schema")
def _() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "yes_or_no", "strict": True, "schema": {
        "type": "object", "properties": {"answer": {"type": "boolean"}}, "required": ["answer"],
        "additionalProperties": False,
    }}}
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 64, "temperature": 0, "response_format": form}
    text = json.loads(post("/chat/completions", body))["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text)["answer"], bool)
    return text


@case("errors: no key")
def _() -> str:
    status, error = refused(BASE + "/models")
    assert status == 401, status
    return str(error)


@case("errors: unknown model")
def _() -> str:
    body = json.dumps({"model": "no-such-model", "messages": HELLO})
    status, error = refused(*AUTH, *JSON, "-d", body, BASE + "/chat/completions")
    assert status == 404, status
    assert {"message", "type", "param", "code"} <= error.keys(), error
    return str(error)


@case("errors: no JSON")
def _() -> str:
    status, error = refused(*AUTH, *JSON, "-d", "{", BASE + "/chat/completions")
    assert status == 400, status
    return str(error)


@case("errors: unknown path")
def _() -> str:
    status, _, _ = curl("-o", "/dev/null", "-w", "%{http_code}", *AUTH, BASE + "/no-such-path").partition("\n")
    assert status == "404", status
    return status
