"""A JSON schema in the words that a grammar can promise, where it says the same in words that none can.

Law: whatever fits the result fits the schema as it came. What would allow more is left as it is, and refused where the
grammar is made (p2p/grammar/schema.py, and its compiler).

These are words that libraries write by themselves, whatever their user meant by them: pydantic (the pattern of a
Decimal, formats of its own), zod (`propertyNames` of any record, `not` for never, the pattern of an address), and
generators of OpenAPI documents (formats of bytes and numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Formats that a grammar enforces. By JSON Schema (2020-12, validation 7.2) any other one is a remark.
FORMATS = frozenset({
    "date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid",
})
# Patterns that look around, which no automaton does: each with one that matches less.
LESS: Mapping[str, str] = {
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": r"^[+-]?[0-9]+(\.[0-9]+)?$",  # pydantic: Decimal
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$":
        r"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",  # zod: an address
}
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # names -> schemas
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_INNER = (
    "items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contains", "not", "if", "then",
    "else", "propertyNames", "additionalItems",
)
# beside which `unevaluatedProperties` speaks of more than the properties of its own object
_IN_PLACE = frozenset({
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas",
    "additionalProperties",
})
# words under which less of a part is more of the whole
_TURN_ROUND = frozenset({"not", "if", "oneOf", "contains", "dependentSchemas"})
_ANYTHING: tuple[Any, ...] = (True, {})


def plain_schema(schema: Any) -> Any:
    """schema: JSON as `json.loads` gives it, bounded in depth by its reader."""
    return _plain(schema, may_narrow=not _turns_round(schema))


def _turns_round(part: Any) -> bool:
    if isinstance(part, list):
        return any(map(_turns_round, part))
    if not isinstance(part, dict):
        return False
    here = any(name in part and part[name] not in _ANYTHING for name in _TURN_ROUND)
    return here or any(map(_turns_round, part.values()))


def _plain(part: Any, *, may_narrow: bool) -> Any:
    if not isinstance(part, dict):
        return part
    made = dict(part)
    for name in _NAMED:
        if isinstance(made.get(name), dict):
            made[name] = {key: _plain(each, may_narrow=may_narrow) for key, each in made[name].items()}
    for name in _LISTS:
        if isinstance(made.get(name), list):
            made[name] = [_plain(each, may_narrow=may_narrow) for each in made[name]]
    for name in _INNER:
        if isinstance(made.get(name), dict):
            made[name] = _plain(made[name], may_narrow=may_narrow)
    return _words(made, may_narrow=may_narrow)


def _words(made: dict[str, Any], *, may_narrow: bool) -> Any:
    """One object of a schema, whose parts are plain."""
    if "not" in made and made["not"] in _ANYTHING:
        return False
    if isinstance(made.get("format"), str) and made["format"] not in FORMATS:
        del made["format"]
    if may_narrow and isinstance(made.get("pattern"), str):
        made["pattern"] = LESS.get(made["pattern"], made["pattern"])
    if "propertyNames" in made and made["propertyNames"] in (*_ANYTHING, {"type": "string"}):
        del made["propertyNames"]
    if made.get("uniqueItems") is False:
        del made["uniqueItems"]
    if made.get("dependentRequired") == {}:
        del made["dependentRequired"]
    if "unevaluatedProperties" in made and _IN_PLACE.isdisjoint(made):
        made["additionalProperties"] = made.pop("unevaluatedProperties")
    return made
