"""A JSON schema without properties that it does not name. Law: whatever fits the result fits the schema as it came.

By the letter of JSON Schema (2020-12, core 10.3.2.3) an object may have any other properties unless
`additionalProperties` says otherwise. A model that may add some adds them until its tokens end, and the answer is cut
in the middle of a text. Who writes `{"properties": {"happy": ...}}` means these, and engines that make answers by a
schema read it so (llama.cpp, vLLM with xgrammar). So the side that asks closes such objects. A schema that says itself
what else there may be stays as it is, and so does one in which other keywords could ask for more properties of the same
object.
"""

from __future__ import annotations

from typing import Any

_ASK_FOR_MORE = frozenset({
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas",
    "dependentRequired", "dependencies", "patternProperties", "additionalProperties", "unevaluatedProperties",
    "propertyNames", "minProperties", "const", "enum",
})  # beside `properties`, in the same object
# several schemas about one object. oneOf: what fits one of two closed ones may fit both as they came
_SAME_OBJECT = frozenset({
    "allOf", "oneOf", "not", "if", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef",
})
_VALUES = ("properties", "$defs", "definitions")  # names -> schemas
_LISTS = ("anyOf", "prefixItems")  # schemas of which each stands alone
_INNER = ("items", "additionalProperties", "contains")


def closed_schema(schema: Any) -> Any:
    """schema: JSON as `json.loads` gives it, bounded in depth by its reader. Unchanged where it cannot be closed."""
    return schema if _asks_twice(schema) else _closed(schema)


def _asks_twice(part: Any) -> bool:
    """Whether several schemas may speak about one object: closing one would shut out what the others ask for."""
    if isinstance(part, list):
        return any(_asks_twice(each) for each in part)
    if not isinstance(part, dict):
        return False
    if not _SAME_OBJECT.isdisjoint(part) or ("properties" in part and not {"anyOf", "$ref"}.isdisjoint(part)):
        return True
    return any(_asks_twice(each) for each in part.values())


def _closed(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    made = dict(part)
    for name in _VALUES:
        if isinstance(part.get(name), dict):
            made[name] = {key: _closed(each) for key, each in part[name].items()}
    for name in _LISTS:
        if isinstance(part.get(name), list):
            made[name] = [_closed(each) for each in part[name]]
    for name in _INNER:
        if isinstance(part.get(name), dict):
            made[name] = _closed(part[name])
    named, required = part.get("properties"), part.get("required", [])
    if not isinstance(named, dict) or not named or not _ASK_FOR_MORE.isdisjoint(part):
        return made
    if isinstance(required, list) and all(isinstance(name, str) and name in named for name in required):
        made["additionalProperties"] = False
    return made
