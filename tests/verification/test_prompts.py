"""The calibration prompts: enough of each kind, any prefix is fair, the two halves never mix, a broken list is
named."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from p2p.base.errors import ConfigError
from p2p.verification import prompts

ALL = prompts.load()


def lines(found: tuple[prompts.Prompt, ...]) -> bytes:
    return b"\n".join(map(msgspec.json.encode, found))


def test_the_list_is_complete_and_bounded() -> None:
    assert len(ALL) >= 240
    counts = Counter(p.kind for p in ALL)
    assert all(counts[kind] >= least for kind, least in prompts.LEAST.items())  # type: ignore[index]
    assert all(250 <= len(p.text.split()) <= 600 for p in ALL if p.kind == "long")
    assert all(48 <= p.max_tokens <= 96 for p in ALL if p.kind != "short")
    assert len({p.max_tokens for p in ALL if p.kind != "short"}) > 1
    assert len(lines(ALL)) < prompts.MAX_FILE


def test_a_prefix_is_representative() -> None:
    for size in (24, 48, 120):
        counts = Counter(p.kind for p in ALL[:size])
        for kind, least in prompts.LEAST.items():
            assert abs(counts[kind] - size * least / 240) <= 1.5, (size, kind)  # type: ignore[index]


def test_the_halves_are_by_id_alone() -> None:
    calibration, heldout = prompts.split(ALL)
    assert {p.id for p in calibration} | {p.id for p in heldout} == {p.id for p in ALL}
    assert not {p.id for p in calibration} & {p.id for p in heldout}
    assert 0.4 < len(calibration) / len(ALL) < 0.6
    for half in (calibration, heldout):  # each side has each kind
        assert set(Counter(p.kind for p in half)) == set(prompts.LEAST)
    alone, _ = prompts.split(reversed(ALL[:50]))
    assert set(alone) == set(calibration) & set(ALL[:50])


@pytest.mark.parametrize(("line", "field"), [
    (b'{"id": "chat-01", "kind": "chat", "text": "again", "max_tokens": 50}', "id"),
    (b'{"id": "chat-99", "kind": "song", "text": "x", "max_tokens": 50}', "prompts"),
    (b'{"id": "chat-99", "kind": "chat", "text": "x", "max_tokens": 97}', "prompts"),
    (b'{"id": "chat-99", "kind": "chat", "text": "", "max_tokens": 50}', "prompts"),
    (b'{"id": "chat-99", "kind": "chat", "text": "x", "max_tokens": 8}', "max_tokens"),
    (b'{"id": "short-99", "kind": "short", "text": "x", "max_tokens": 9}', "max_tokens"),
    (b'{"id": "code-99", "kind": "chat", "text": "x", "max_tokens": 50}', "id"),
    (b'{"id": "chat-99", "kind": "chat", "text": "x", "max_tokens": 50, "more": 1}', "prompts"),
    (b"not json", "prompts"), (b"\xff", "prompts"), (b"", "prompts"),
])
def test_a_broken_line_is_named(line: bytes, field: str) -> None:
    with pytest.raises(ConfigError) as error:
        prompts.parse(lines(ALL) + b"\n" + line + b"\n")
    assert error.value.field == field


def test_the_same_text_twice_too_few_and_too_long() -> None:
    twin = msgspec.structs.replace(ALL[0], id=ALL[0].kind + "-999")
    for data, field in (
        (lines((*ALL, twin)), "text"), (lines(ALL[1:]), "kind"), (b" " * (prompts.MAX_FILE + 1), "prompts")
    ):
        with pytest.raises(ConfigError) as error:
            prompts.parse(data)
        assert error.value.field == field
