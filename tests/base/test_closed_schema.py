"""Objects of a schema that names their properties have no others, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.closed_schema import closed_schema

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.integers(0, 2) | st.booleans() | st.just("x"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8,
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just("object")}, optional={
        "properties": st.dictionaries(NAMES, inner, max_size=3), "required": st.lists(NAMES, max_size=2, unique=True),
        "additionalProperties": inner | st.booleans(), "minProperties": st.integers(0, 2),
        "patternProperties": st.just({"^c": {"type": "integer"}}), "anyOf": st.lists(inner, min_size=1, max_size=2),
        "oneOf": st.lists(inner, min_size=1, max_size=2), "allOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner, "if": inner, "then": inner, "propertyNames": st.just({"maxLength": 1}),
        "$ref": st.just("#/$defs/d"), "dependentRequired": st.just({"a": ["b"]}),
        "dependentSchemas": st.just({"a": {"required": ["c"]}}),
    })


SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "integer"}, {"type": "boolean"}, {"const": "x"}, {"$ref": "#/$defs/d"}]),
    lambda inner: objects(inner) | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
    | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}), max_leaves=6,
)
LEAF = st.sampled_from([{"type": "integer"}, {"type": "object", "properties": {"a": {"type": "integer"}}}])


def fits(schema: Any, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@given(SCHEMAS, LEAF, VALUES)
def test_what_fits_the_closed_schema_fits_the_schema_as_it_came(schema: Any, leaf: Any, value: Any) -> None:
    whole = {**schema, "$defs": {"d": leaf}}
    before = copy.deepcopy(whole)
    closed = closed_schema(whole)
    assert whole == before, "it is not changed itself"
    if fits(closed, value):
        assert fits(whole, value), closed


@pytest.mark.parametrize(("schema", "value"), [
    ({"properties": {"a": {}}}, {"a": 1, "z": 1}),
    ({"type": "array", "items": {"properties": {"a": {}}}}, [{"z": 1}]),
    ({"properties": {"a": {"anyOf": [{"properties": {"b": {}}}, {"type": "null"}]}}}, {"a": {"z": 1}}),
    ({"$ref": "#/$defs/d", "$defs": {"d": {"properties": {"a": {}}}}}, {"z": 1}),
    ({"additionalProperties": {"properties": {"a": {}}}}, {"any": {"z": 1}}),
])
def test_a_property_that_is_not_named_does_not_fit(schema: Any, value: Any) -> None:
    assert fits(schema, value)
    assert not fits(closed_schema(schema), value)


@pytest.mark.parametrize("schema", [
    True, {}, {"type": "object"}, {"properties": {}}, {"properties": {"a": {}}, "additionalProperties": True},
    {"properties": {"a": {}}, "required": ["b"]}, {"properties": {"a": {}}, "minProperties": 2},
    {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
    {"properties": {"kind": {}}, "anyOf": [{"properties": {"a": {}}, "required": ["a"]}]},
    {"properties": {"kind": {}}, "$ref": "#/$defs/d", "$defs": {"d": {"properties": {"a": {}}, "required": ["a"]}}},
    {"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
])
def test_a_schema_that_may_ask_for_more_stays_as_it_is(schema: Any) -> None:
    assert closed_schema(schema) == schema
