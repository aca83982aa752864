"""One HTTP request: its headers and body, and the answer in one piece.

Law: a body that is too large is refused before it is read, and what is not JSON is not parsed. A web page cannot send
JSON to another origin without asking first, and asking is refused unless --cors allows it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.limits import MIB
from p2p.base.serving_limits import HTTP_BODY_S, MAX_HTTP_BODY
from p2p.gateway.core.fields import Fields, read_json
from p2p.gateway.core.refusals import TooLarge, UnsupportedMedia, anthropic_error, openai_error, retry_after, status_of
from p2p.gateway.http.asgi import Receive, Scope, Send

Pairs = list[tuple[bytes, bytes]]
_ANTHROPIC = "/v1/messages"
_encode = msgspec.json.Encoder().encode


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; of several with one name, the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return found


async def read_body(headers: dict[str, str], receive: Receive) -> Fields:
    """The request's JSON object. Raises UnsupportedMedia, TooLarge and InvalidRequest."""
    _check_type(headers)
    length = headers.get("content-length", "")
    if length.isdigit() and (len(length) > 12 or int(length) > MAX_HTTP_BODY):
        raise _too_large()
    parts, size = [], 0
    with trio.move_on_after(HTTP_BODY_S) as waiting:
        while True:
            message = await receive()
            parts.append(message["body"])
            size += len(message["body"])
            if size > MAX_HTTP_BODY:
                raise _too_large()
            if not message["more_body"]:
                break
    if waiting.cancelled_caught:
        raise InvalidRequest(f"the body did not come within {HTTP_BODY_S:g} seconds", field="body", code="timeout")
    return read_json(b"".join(parts))


def _check_type(headers: dict[str, str]) -> None:
    kind, _, rest = headers.get("content-type", "").lower().partition(";")
    if kind.strip() != "application/json" and not (kind.startswith("application/") and kind.strip().endswith("+json")):
        raise UnsupportedMedia("send JSON, with the header `Content-Type: application/json`", field="content-type")
    charset = next((part.split("=", 1)[1].strip(' "') for part in rest.split(";") if "charset=" in part), "utf-8")
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMedia("send UTF-8", field="content-type")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("send the body uncompressed", field="content-encoding")


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {MAX_HTTP_BODY // MIB} MiB; shorten the conversation", field="body")


def as_bytes(plain: Any) -> bytes:
    """JSON."""
    return _encode(plain)


async def send_json(send: Send, plain: Any, status: int = 200, more: Pairs | None = None) -> None:
    """A whole answer."""
    await send_bytes(send, as_bytes(plain), b"application/json", status, more)


async def send_bytes(send: Send, body: bytes, kind: bytes, status: int = 200, more: Pairs | None = None) -> None:
    """A whole answer of another kind."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *(more or ())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def speaks_anthropic(path: str, headers: dict[str, str]) -> bool:
    """Whether the caller reads Anthropic's errors: by the path, or by the header that only its clients send."""
    return path.startswith(_ANTHROPIC) or "anthropic-version" in headers


async def send_error(
    send: Send, error: FolkmootError, request_id: str, more: Pairs | None = None, *, anthropic: bool = False,
) -> None:
    """An error, in the envelope of the caller's API."""
    status, wait = status_of(error), retry_after(error)
    plain = anthropic_error(error, request_id) if anthropic else openai_error(error)
    headers = [*(more or ())]
    if wait is not None:
        headers.append((b"retry-after", str(wait).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send_json(send, plain, status, headers)
