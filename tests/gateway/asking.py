"""Asks the application without a socket: one request in, status, headers and body out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from p2p.gateway.app import new_app
from p2p.gateway.http.asgi import App, Message
from tests.gateway.scripted import ScriptedBackend


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    writes: list[bytes]  # of the body, as they came

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def events(self) -> list[tuple[str, Any]]:
        """(name, data) of each event; data is the text where it is no JSON."""
        found = []
        for block in self.body.decode().split("\n\n"):
            lines = [line for line in block.split("\n") if line and not line.startswith(":")]
            if lines:
                name = next((line[7:] for line in lines if line.startswith("event: ")), "")
                data = "\n".join(line[6:] for line in lines if line.startswith("data: "))
                found.append((name, data if data == "[DONE]" else json.loads(data)))
        return found


async def ask(
    to: App | ScriptedBackend, path: str, body: Any = None, *, raw: bytes | None = None, method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request. body: JSON of a POST; raw: other bytes instead."""
    app = new_app(to) if isinstance(to, ScriptedBackend) else to
    sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    verb = method or ("GET" if body is None and raw is None else "POST")
    base = {"host": "127.0.0.1"} | ({"content-type": "application/json"} if verb == "POST" else {})
    named = base | {name.lower(): value for name, value in (headers or {}).items()}
    plain_path, _, query = path.partition("?")
    scope = {
        "type": "http", "method": verb, "path": plain_path, "raw_path": plain_path.encode(),
        "query_string": query.encode(), "root_path": "", "scheme": "http", "http_version": "1.1", "state": {},
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value],
    }
    messages: list[Message] = []
    parts = [{"type": "http.request", "body": sent, "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    return Reply(
        start["status"], {name.decode(): value.decode() for name, value in start["headers"]},
        [message.get("body", b"") for message in messages[1:]],
    )


def chat(content: Any = "hi", **more: Any) -> dict[str, Any]:
    """A small request to /v1/chat/completions."""
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}
