"""Writes plain values as YAML: maps, lists, text, numbers, booleans. Law: what is read back is what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*\Z")
_AS_IT_IS = re.compile(r"[ !#-\[\]-~]\Z")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def dump(value: Any) -> str:
    """A document. Text that could be read as something else is quoted."""
    return "\n".join(_lines(value)) + "\n"


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _PLAIN.match(value) and value.lower() not in _WORDS else _quoted(value)


def _quoted(text: str) -> str:
    """In double quotes; what is not a printable ASCII character as an escape."""
    return '"' + "".join(one if _AS_IT_IS.match(one) else f"\\U{ord(one):08x}" for one in text) + '"'


def _lines(value: Any) -> Iterator[str]:
    """The lines of a value that begins a line of its own."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{_scalar(str(key))}:", inner)
    elif isinstance(value, list | tuple) and value:
        for inner in value:
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield "{}" if isinstance(value, dict) else "[]" if isinstance(value, list | tuple) else _scalar(value)


def _entry(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list | tuple) and value:
        yield key
        yield from (f"  {line}" for line in _lines(value))
    else:
        yield f"{key} {next(iter(_lines(value)))}"
