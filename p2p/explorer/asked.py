"""What a visitor asked: the query string, read strictly. Law: what is not known, or out of its range, is refused by
name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import EXPLORER_PAGE, MAX_MODEL_NAME
from p2p.base.types import Status

MAX_NUMBER = (1 << 32) - 1
_STATUSES = ("open", *(status.value for status in Status))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request's parameters."""

    values: dict[str, str]

    def number(self, name: str, default: int | None, most: int = MAX_NUMBER) -> int | None:
        text = self.values.get(name)
        if text is None:
            return default
        return number(text, name, most)

    @property
    def limit(self) -> int:
        found = self.number("limit", 25, EXPLORER_PAGE)
        return max(found or 0, 1)

    @property
    def before(self) -> int | None:
        return self.number("before", None)

    def id(self, name: str) -> str:
        """64 hexadecimal digits, or empty where it is left out."""
        text = self.values.get(name, "")
        return hex32(text, name) if text else ""

    @property
    def status(self) -> str:
        text = self.values.get("status", "")
        if text and text not in _STATUSES:
            raise InvalidRequest(f"a status is one of {', '.join(_STATUSES)}", field="status")
        return text

    def text(self, name: str) -> str:
        text = self.values.get(name, "").strip()
        if len(text) > MAX_MODEL_NAME:
            raise InvalidRequest(f"give at most {MAX_MODEL_NAME} characters", field=name)
        return text


def read_query(raw: bytes, known: tuple[str, ...]) -> Asked:
    """The parameters of a query string. Raises InvalidRequest naming one that is not known or comes twice."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=16,
                          errors="strict")
    except ValueError as error:
        raise InvalidRequest("the query string is malformed", field="query") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRequest("a parameter comes twice", field="query")
    for name in values:
        if name not in known:
            raise InvalidRequest(
                f"there is no parameter {name[:40]!r} here; there are: {', '.join(known) or 'none'}", field=name[:40],
            )
    return Asked(values)


def number(text: str, field: str, most: int = MAX_NUMBER) -> int:
    """A whole number from 0 to `most`. Raises InvalidRequest."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) > most:
        raise InvalidRequest(f"give a whole number from 0 to {most}", field=field)
    return int(text)


def hex32(text: str, field: str) -> str:
    """64 hexadecimal digits, small. Raises InvalidRequest."""
    low = text.lower()
    if len(low) != 64 or not set(low) <= set("0123456789abcdef"):
        raise InvalidRequest("give 64 hexadecimal digits", field=field)
    return low
