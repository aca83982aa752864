"""JSON that others wrote, such as that inside a request's body, read within bounds.

Law: what is read is finite in depth and has only what JSON has; every side reads the same from the same text.
"""

from __future__ import annotations

import json
import re
from typing import Any

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_JSON_DEPTH

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)  # strings whole, each letter read once
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_json(text: str) -> Any:
    """The value that `text` is. Halves of characters, which only an escape can name, become U+FFFD.

    Raises ValueError where it is no JSON, or nested deeper than MAX_JSON_DEPTH.
    """
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
        elif found[0] in "]}":
            depth -= 1
    return _whole(json.loads(text, parse_constant=_refuse))


def read_object(text: str, field: str, *, empty: str = "{}") -> dict[str, Any]:
    """The JSON object that `text` is. empty: what an empty text stands for. Raises InvalidRequest(field)."""
    try:
        value = read_json(text or empty)
    except ValueError as error:
        raise InvalidRequest(f"must be a JSON object, and it cannot be read: {error}"[:200], field=field) from error
    if not isinstance(value, dict):
        raise InvalidRequest("must be a JSON object, as {\"key\": \"value\"}", field=field)
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return value
