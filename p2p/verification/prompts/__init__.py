"""The prompts on which honest noise is measured. Law: one fixed, checked list, so that everybody who calibrates asks
the same.

Kinds are interleaved, so any first part of the list is a fair sample of all kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib import resources
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from p2p.base.errors import ConfigError
from p2p.base.keys import digest

Kind = Literal["chat", "code", "maths", "long", "other", "short"]
# prompts of each kind, at least
LEAST: Final[dict[str, int]] = {"chat": 50, "code": 40, "maths": 40, "long": 20, "other": 50, "short": 40}
MAX_TEXT: Final = 65_536  # characters of one prompt
MAX_ASKED: Final = 96  # output tokens a prompt may ask for
SHORT_TOKENS: Final = 8  # output tokens of a prompt of kind "short", at most
MAX_FILE: Final = 150_000  # bytes of the list


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One user message. kind: "other" is a language other than English, "short" an answer of 1 to 8 tokens."""

    id: Annotated[str, Meta(pattern=r"^[a-z]+-[0-9]+$", max_length=32)]
    kind: Kind
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_ASKED)]


def load() -> tuple[Prompt, ...]:
    """The list that comes with the package, in its order. Raises ConfigError if the file is damaged."""
    return parse(resources.files(__name__).joinpath("prompts.jsonl").read_bytes())


def parse(data: bytes) -> tuple[Prompt, ...]:
    """From lines of JSON. Raises ConfigError naming the line and field, or the kind of which there are too few."""
    if len(data) > MAX_FILE:
        raise ConfigError(f"{len(data)} bytes of prompts where at most {MAX_FILE} are allowed", field="prompts")
    found = tuple(_line(raw, at) for at, raw in enumerate(data.splitlines(), 1))
    for what in ("id", "text"):
        most = Counter(getattr(prompt, what) for prompt in found).most_common(1)
        if most and most[0][1] > 1:
            raise ConfigError(f"two prompts have the same {what}: {most[0][0][:60]!r}", field=what)
    counts = Counter(prompt.kind for prompt in found)
    for kind, least in LEAST.items():
        if counts[kind] < least:  # type: ignore[index]
            found_of_kind = f"{counts[kind]} prompts of kind {kind!r}"  # type: ignore[index]
            raise ConfigError(f"{found_of_kind}, at least {least} are needed", field="kind")
    return found


def split(prompts: Iterable[Prompt]) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """(calibration, held out), about half each, by the id alone: a new prompt moves no old one to the other side."""
    halves: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        halves[digest(b"prompt-half", prompt.id.encode())[0] & 1].append(prompt)
    return tuple(halves[0]), tuple(halves[1])


def _line(raw: bytes, at: int) -> Prompt:
    try:
        prompt = msgspec.json.decode(raw, type=Prompt)
    except msgspec.DecodeError as error:
        raise ConfigError(f"line {at} is not a prompt: {error}", field="prompts") from error
    if (prompt.max_tokens <= SHORT_TOKENS) != (prompt.kind == "short"):
        raise ConfigError(
            f"line {at}: exactly the prompts of kind 'short' ask for at most {SHORT_TOKENS} tokens",
            field="max_tokens"
        )
    if not prompt.id.startswith(prompt.kind + "-"):
        raise ConfigError(f"line {at}: the id does not begin with its kind", field="id")
    return prompt
