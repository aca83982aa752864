"""What every API's writer does: it turns pieces into the events of a stream, or into one answer.

Law: pure; one writer, fed once, gives both forms of the same answer. Each `feed` returns the events for one piece, and
`whole` the answer without a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from p2p.base.errors import FolkmootError
from p2p.gateway.core.pieces import (
    CallBegin,
    CallDelta,
    CallEnd,
    Ended,
    Failed,
    Piece,
    Reason,
    Row,
    Said,
    Started,
    Usage,
)

DONE = "[DONE]"  # the data of the last event, in OpenAI's streams


class Event(NamedTuple):
    """One server-sent event. name: "" where the API names none; data: an object, or DONE."""

    name: str
    data: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class About:
    """What an answer says about itself."""

    id: str  # random; with the API's prefix
    created: int  # Unix time in seconds
    prompt_tokens: int  # of all prompts, as counted here
    bytes_of: Callable[[int], bytes]  # what a token stands for; b"" for special ones
    request_id: str = ""


class Writer(Protocol):
    """Of one answer."""

    @property
    def choices(self) -> Sequence[Choice]: ...

    def begin(self) -> list[Event]: ...

    def feed(self, at: int, piece: Piece) -> list[Event]:
        """at: which of several answers."""
        ...

    def end(self) -> list[Event]: ...

    def fail(self, error: FolkmootError) -> list[Event]: ...

    def alive(self) -> Event | None:
        """A sign of life in the API's own words; None: a comment."""
        ...

    def whole(self) -> dict[str, Any]:
        """The answer. Raises the error of the first answer that failed."""
        ...


@dataclass(slots=True)
class Call:
    """A call of a tool, as far as it has come."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Choice:
    """One of the answers, as far as it has come."""

    parts: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    started: Started | None = None
    ended: Ended | None = None
    error: FolkmootError | None = None

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        match piece:
            case Started():
                self.started = piece
            case Said():
                self.parts.append(piece.text)
                self.rows += piece.rows
            case CallBegin():
                self.calls.append(Call(piece.id, piece.name))
            case CallDelta():
                self.calls[-1].arguments += piece.arguments
            case CallEnd():
                pass
            case Ended():
                self.ended = piece
            case Failed():
                self.error = piece.error

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def reason(self) -> Reason:
        """Why it ended. Only of an answer that has."""
        return self.checked().reason

    def checked(self) -> Ended:
        """Its end. Raises the error instead of which it has none."""
        if self.error is not None:
            raise self.error
        assert self.ended is not None
        return self.ended


def new_choices(count: int) -> tuple[Choice, ...]:
    return tuple(Choice() for _ in range(count))


def usage_of(choices: Sequence[Choice]) -> Usage:
    """Of all answers together: each is charged with its prompt."""
    total = Usage()
    for choice in choices:
        total += choice.checked().usage
    return total


def openai_usage(usage: Usage) -> dict[str, Any]:
    """`usage` as in chat completions and completions."""
    return {
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached}, "completion_tokens_details": {"reasoning_tokens": 0},
    }


FINISH = {Reason.STOP: "stop", Reason.STOP_STRING: "stop", Reason.LENGTH: "length", Reason.CALLS: "tool_calls"}
