"""Reads a request's JSON: its values by name, each with the path that the caller wrote.

Law: what has the wrong shape is named (`messages[2].content[0].type`), with what is allowed. null means absent. A name
that is not asked for is not looked at, and `unread` tells it; which names are refused is said by each API
(p2p/gateway/types).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_JSON_DEPTH, MAX_JSON_DIGITS

Refused = dict[str, tuple[tuple[object, ...], str]]  # name -> (values that change nothing, what to use instead)
_MARK = b"\xef\xbb\xbf"  # of UTF-8: some programs begin every text with it
_LOW, _HIGH = -(2**63), 2**63 - 1


def read_json(raw: bytes) -> Fields:
    """The JSON object in `raw`. Raises InvalidRequest for other things, and for what two readers could read in two
    ways: a name that comes twice, NaN and infinite numbers, halves of surrogate pairs, more than MAX_JSON_DEPTH
    levels."""
    try:
        text = raw.removeprefix(_MARK).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})", field="body") from error
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_float, parse_int=_int,
        )
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {str(error)[:120]}", field="body") from error
    if not isinstance(found, dict):
        raise InvalidRequest("the body must be a JSON object", field="body")
    _check_depth(found)
    if "\\u" in text:
        _check_surrogates(found)
    return Fields(found)


class Fields:
    """One JSON object of a request. path: where it stands in it; "" for the request itself."""

    __slots__ = ("_asked", "path", "plain")

    def __init__(self, plain: Mapping[str, Any], path: str = "") -> None:
        self.plain = plain
        self.path = path
        self._asked: set[str] = set()

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self.plain.get(name)

    def unread(self) -> list[str]:
        """The paths of values that nobody asked for. null and what is empty says nothing."""
        return [self.at(name) for name, value in self.plain.items()
                if name not in self._asked and value not in (None, {}, [], "")]

    def at(self, name: str) -> str:
        """The path of a value."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether there is a value that is not null."""
        return self._get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it is; None where it is absent."""
        return self._get(name)

    def wrong(self, name: str, sentence: str) -> InvalidRequest:
        """The error about a value."""
        return InvalidRequest(sentence, field=self.at(name))

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        found = self._get(name)
        if found is None:
            return default
        if not isinstance(found, str):
            raise self.wrong(name, f"must be a text, not {kind_of(found)}")
        return found

    def need_text(self, name: str, limit: int | None = None) -> str:
        """A text that must be there and not be empty."""
        found = self.text(name)
        if not found:
            raise self.wrong(name, "is missing" if not self.has(name) else "is empty")
        if limit is not None and len(found) > limit:
            raise self.wrong(name, f"has {len(found)} characters; {limit} are allowed")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        found = self._get(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.wrong(name, f"must be true or false, not {kind_of(found)}")
        return found

    def whole(self, name: str, low: int = _LOW, high: int = _HIGH) -> int | None:
        """A whole number from `low` to `high`."""
        found = self._get(name)
        if found is None:
            return None
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
            raise self.wrong(name, f"must be a whole number from {low} to {high}, not {_shown(found)}")
        return found

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`."""
        found = self._get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
            raise self.wrong(name, f"must be a number from {low:g} to {high:g}, not {_shown(found)}")
        return float(found)

    def one_of(self, name: str, allowed: Sequence[str], default: str = "") -> str:
        """One of these texts."""
        found = self._get(name)
        if found is None and default:
            return default
        if not isinstance(found, str) or found not in allowed:
            raise self.wrong(name, f"must be one of {', '.join(allowed)}, not {_shown(found)}")
        return found

    def inner(self, name: str) -> Fields | None:
        """An object."""
        found = self._get(name)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise self.wrong(name, f"must be an object, not {kind_of(found)}")
        return Fields(found, self.at(name))

    def items(self, name: str, most: int) -> list[tuple[str, Any]]:
        """A list's (path, value)s, `most` of them at most; an empty list where it is absent."""
        found = self._get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self.wrong(name, f"must be a list, not {kind_of(found)}")
        if len(found) > most:
            raise self.wrong(name, f"has {len(found)} items; {most} are allowed")
        return [(f"{self.at(name)}[{at}]", value) for at, value in enumerate(found)]

    def objects(self, name: str, most: int) -> list[Fields]:
        """A list of objects."""
        return [as_object(value, path) for path, value in self.items(name, most)]

    def refuse(self, refused: Refused) -> None:
        """Raises for the first of these names whose value would change the answer."""
        for name, (harmless, instead) in refused.items():
            found = self._get(name)
            if found is not None and not any(type(found) is type(one) and found == one for one in harmless):
                raise InvalidRequest(f"is not supported; {instead}", field=self.at(name), code="unsupported_parameter")


def as_object(value: Any, path: str) -> Fields:
    """An object inside a list."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"must be an object, not {kind_of(value)}", field=path)
    return Fields(value, path)


def as_json(value: Any) -> str:
    """A value as compact JSON, with its names in the order in which they came."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    kinds = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (list, "a list"), (dict, "an object"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "null")


def _shown(value: object) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float | bool) else kind_of(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest("the name comes twice in one object; send it once", field=twice[:60])
    return found


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is no JSON number; send a finite number or null", field="body")


def _number(kind: Callable[[str], int | float]) -> Callable[[str], int | float]:
    def read(digits: str) -> int | float:
        found = kind(digits) if len(digits) <= MAX_JSON_DIGITS else math.inf
        if math.isinf(found):
            raise InvalidRequest(f"the number {digits[:20]} is too large or has too many digits", field="body")
        return found

    return read


_int, _float = _number(int), _number(float)


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"the JSON has more than {MAX_JSON_DEPTH} levels", field="body")


def _values(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list):
        yield from found


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(MAX_JSON_DEPTH):
        level = [value for outer in level for value in _values(outer) if isinstance(value, dict | list)]
        if not level:
            return
    raise _too_deep()


def _check_surrogates(found: Any) -> None:
    """Half a surrogate pair is no text: it cannot be sent on, tokenized or signed."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("the body contains half of a surrogate pair", field="body") from error
