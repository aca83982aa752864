"""The types of ASGI, and the scope of one request. Law: data only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import h11

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def scope_of(request: h11.Request) -> Scope:
    """The scope of a request."""
    raw_path, _, query = request.target.partition(b"?")
    headers = list(request.headers)
    if raw_path.lower().startswith((b"http://", b"https://")):  # as to a proxy; its host is the one that counts
        host, slash, rest = raw_path.partition(b"://")[2].partition(b"/")
        raw_path, headers = slash + rest, [(b"host", host), *(one for one in headers if one[0] != b"host")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1"), errors="replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {},
    }
