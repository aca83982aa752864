"""Errors of the HTTP side, and how any error looks in each API's own envelope.

Law: a caller's fault has a status of its own and names the parameter as the caller wrote it; a fault of this program
says nothing of its inside.
"""

from __future__ import annotations

from typing import Any

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, StorageError

RETRY_S = 1  # Retry-After where nothing better is known
_HEIGHT_S = 1  # an empty block takes about so long


class Unauthorized(FolkmootError):
    """The key is missing or wrong."""

    code = "invalid_api_key"
    http_status = 401


class Forbidden(FolkmootError):
    """A page of another origin asks, or another name of this machine is used."""

    code = "forbidden"
    http_status = 403


class NotFound(InvalidRequest):
    """There is no such path, model, response or inference."""

    code = "not_found"
    http_status = 404


class MethodNotAllowed(InvalidRequest):
    """The path exists, with another method."""

    code = "method_not_allowed"
    http_status = 405


class TooLarge(InvalidRequest):
    """The body is larger than MAX_HTTP_BODY."""

    code = "request_too_large"
    http_status = 413


class UnsupportedMedia(InvalidRequest):
    """The body is not said to be JSON."""

    code = "unsupported_media_type"
    http_status = 415


class Unthreaded(InvalidRequest):
    """Anthropic's SDK asks that a conversation is held here. It sends the whole of it when it is told so."""

    code = "thread_unsupported_request"


class TooLong(InvalidRequest):
    """The prompt does not fit the model's context."""

    code = "context_length_exceeded"


_OPENAI = {
    401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 502: "server_error",
    503: "server_error",
}
_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 413: "request_too_large", 415: "invalid_request_error", 429: "rate_limit_error",
    502: "api_error", 503: "overloaded_error",
}
STATUSES = tuple(sorted({*_ANTHROPIC, 500}))


def status_of(error: FolkmootError) -> int:
    """The HTTP status of the answer that reports `error`."""
    return error.http_status if error.http_status in STATUSES else 500


def openai_error(error: FolkmootError) -> dict[str, Any]:
    """The envelope {"error": {message, type, param, code}} that OpenAI's clients read."""
    status = status_of(error)
    kind = _OPENAI.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": _about(error), "type": kind, "param": error.field or None, "code": error.code}}


def anthropic_error(error: FolkmootError, request_id: str = "") -> dict[str, Any]:
    """The envelope {"type": "error", "error": {type, message}} that Anthropic's clients read."""
    about: dict[str, Any] = {"type": _ANTHROPIC.get(status_of(error), "api_error"), "message": _about(error)}
    if isinstance(error, Unthreaded):
        about["details"] = {"error_code": error.code, "unsupported": [error.field]}
    return {"type": "error", "error": about, "request_id": request_id or None}


def retry_after(error: FolkmootError) -> int | None:
    """Seconds after which it makes sense to ask again; None where asking again does not help."""
    if isinstance(error, Overloaded):
        return max(RETRY_S, error.retry_after * _HEIGHT_S)
    return RETRY_S if status_of(error) == 503 else None


def _about(error: FolkmootError) -> str:
    """The sentence with the parameter's name: many clients show nothing else."""
    return f"{error.field}: {_said(error)}" if error.field else _said(error)


def _said(error: FolkmootError) -> str:
    if isinstance(error, StorageError):
        return "this machine's own files cannot be read or written; see the gateway's log"
    return error.message
