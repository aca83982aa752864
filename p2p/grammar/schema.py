"""JSON schemas before they are compiled. Law: what a compiler could only answer by filling the memory, and what a
grammar cannot promise, is refused here by name.

Blanks: at most one after each comma and each colon, and none elsewhere. That is what JSON libraries write, compact or
not, and a model cannot lose itself in blank lines.
"""

from __future__ import annotations

import json
from typing import Any

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_SCHEMA_COUNT

OPTIONS = {
    "item_separator": ", ?", "key_separator": ": ?", "whitespace_flexible": False, "coerce_one_of": False,
    "lenient": False,
}
_BLANKS: dict[str, list[Any]] = {
    "item_separator": [",", ", ", ", ?"], "key_separator": [":", ": ", ": ?"], "whitespace_flexible": [False],
}
_OWN = "x-guidance"  # llguidance's name for its options
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")


def any_object() -> str:
    """The schema of any JSON object."""
    return json.dumps({"type": "object", _OWN: OPTIONS})


def parse_json(source: str, what: str) -> Any:
    """A JSON value. what: names it in the error. Raises InvalidRequest(field='grammar')."""
    try:
        return json.loads(source, parse_constant=_no_constant)
    except RecursionError as error:
        raise InvalidRequest(f"{what} is nested too deeply", field="grammar") from error
    except ValueError as error:
        raise InvalidRequest(f"{what} is not JSON: {error}"[:300], field="grammar") from error


def schema_text(schema: Any) -> str:
    """A schema as llguidance takes it. Raises InvalidRequest(field='grammar') for one that is refused."""
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise InvalidRequest("a JSON schema is an object, or true", field="grammar")
    options = {**OPTIONS, **_blanks(schema.get(_OWN, {}))}
    try:
        _check(schema)
        return json.dumps({**schema, _OWN: options}, allow_nan=False)
    except (RecursionError, ValueError) as error:
        why = "the JSON schema is nested too deeply, or has numbers beyond JSON's"
        raise InvalidRequest(why, field="grammar") from error


def _blanks(wanted: Any) -> dict[str, Any]:
    """llguidance's own options in a schema: only those for blanks, where they keep the answer JSON and short."""
    if not isinstance(wanted, dict):
        raise InvalidRequest(f"{_OWN} is an object", field="grammar")
    for name, value in wanted.items():
        if name not in _BLANKS or value not in _BLANKS[name]:
            allowed = ", ".join(f"{each} to one of {json.dumps(values)}" for each, values in _BLANKS.items())
            raise InvalidRequest(f"{_OWN} may set {allowed}", field="grammar")
    return wanted


def _check(part: Any) -> None:
    """Look at every value, keyword or not: a schema hides behind references, too."""
    if isinstance(part, list):
        for each in part:
            _check(each)
    if not isinstance(part, dict):
        return
    for name in _COUNTS:
        count = part.get(name)
        if isinstance(count, int | float) and count > MAX_SCHEMA_COUNT:
            raise InvalidRequest(f"{name} is {count}; at most {MAX_SCHEMA_COUNT} is allowed", field="grammar")
    least = part.get("minProperties")
    if isinstance(least, int | float) and least > 1:
        raise InvalidRequest(
            "minProperties above 1 is not supported, because a grammar cannot tell two equal keys: name the keys in "
            "'required'",
            field="grammar",
        )
    for each in part.values():
        _check(each)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
