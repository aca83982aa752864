"""What an answer consists of where a model may call tools.

Law: data, and the two protocols that a format's file has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from p2p.base.body import Grammar, Tool


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call begins. Calls do not overlap."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next part of the call's arguments, JSON as the model writes it."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The call is over."""


Piece: TypeAlias = Content | CallBegin | CallArguments | CallEnd


class Parser(Protocol):
    """Reads one answer as it comes. Nothing that a model writes is an error: what is no call is content.

    Text that may turn out to be a call is held back. What has begun as a call stays one, even where its arguments break
    off; then they are as the model wrote them.
    """

    def feed(self, text: str) -> list[Piece]:
        """The pieces that this text completes."""
        ...

    def finish(self) -> list[Piece]:
        """The answer is over: what was held back."""
        ...


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a family of models writes calls of tools."""

    name: str
    markers: tuple[str, ...]  # words that the format gives a meaning; some tokenizers have them as special tokens
    # names: tools that were offered; a call of another one is content. None: any name is a call.
    parser: Callable[[Collection[str] | None], Parser]
    call_grammar: Callable[[Sequence[Tool], Collection[str]], Grammar]  # see grammar.py
    guess: Callable[[str], bool]  # whether a chat template is of this format
