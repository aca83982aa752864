"""What a client really sends: the paths, headers and body fields of its requests, as short names.

Law: values are shown only where they choose between meanings (a role, a type, a flag); what a user wrote is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.tools.clients.recorder import Seen

# Fields whose value is a choice of the API, and therefore part of what a gateway must accept.
CHOICES = {
    "role", "type", "stream", "tool_choice", "store", "strict", "parallel_tool_calls", "truncation", "effort",
    "summary", "include_usage", "continuous_usage_stats", "include_obfuscation", "encoding_format", "verbosity",
    "format", "detail", "status", "phase", "service_tier", "display", "n", "logprobs", "echo", "best_of", "ttl",
    "scope", "syntax", "ignore_eos", "add_generation_prompt", "mode", "defer_loading", "include",
}
# Below these a schema or free data of the user begins: its inside is no matter of the API.
OPAQUE = {"parameters", "input_schema", "schema", "metadata", "client_metadata", "logit_bias", "arguments"}
ORDINARY_HEADERS = {
    "accept", "accept-encoding", "accept-language", "authorization", "connection", "content-length", "content-type",
    "host", "sec-fetch-mode", "transfer-encoding", "user-agent", "x-api-key",
}
LONG = 40  # characters of a choice that is still shown
MOST_VALUES = 6  # of one field


def fields(body: Any) -> set[str]:
    """Names of all fields of a body: `messages[].content[].type=text`. A list is `[]`; a choice has its value. None
    where the body is no JSON object."""
    found: set[str] = set()
    if isinstance(body, dict):
        _walk(body, "", "", found)
    return found


def _walk(value: Any, name: str, key: str, found: set[str]) -> None:
    if key in OPAQUE:
        found.add(name)
    elif isinstance(value, dict):
        if not value and name:
            found.add(f"{name}={{}}")
        for inner, one in value.items():
            _walk(one, f"{name}.{inner}" if name else inner, inner, found)
    elif isinstance(value, list):
        if not value:
            found.add(f"{name}=[]")
        for one in value:
            _walk(one, f"{name}[]", "", found)
    elif value is None:
        found.add(f"{name}=null")
    elif key in CHOICES and len(str(value)) <= LONG:
        found.add(f"{name}={_shown(value)}")
    elif isinstance(value, str) and value == "":
        found.add(f'{name}=""')
    else:
        found.add(name)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def together(names: Iterable[str]) -> list[str]:
    """Sorted names; those that differ in the value only are one: `role=system|user`."""
    values: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        field, sign, value = name.partition("=")
        values.setdefault(field, []).extend([value] if sign else [])
    shown = []
    for field, some in values.items():
        more = "|..." if len(some) > MOST_VALUES else ""
        shown.append(f"{field}={'|'.join(some[:MOST_VALUES])}{more}" if some else field)
    return shown


def headers(seen: Iterable[Seen]) -> list[str]:
    """Names of the headers that a plain HTTP client would not send."""
    return sorted({name for one in seen for name in one.headers if name not in ORDINARY_HEADERS})


def outside(seen: Iterable[Seen]) -> list[str]:
    """Other hosts that the client wanted."""
    return sorted({one.outside for one in seen if one.outside})


def by_path(seen: Iterable[Seen]) -> dict[str, list[Seen]]:
    """Requests to the gateway by method and path with its query."""
    found: dict[str, list[Seen]] = {}
    for one in seen:
        if not one.outside:
            found.setdefault(f"{one.method} {one.path}{'?' + one.query if one.query else ''}", []).append(one)
    return dict(sorted(found.items()))
