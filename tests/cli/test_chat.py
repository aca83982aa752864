"""chat, with a client that says what a test wants: what is kept of an answer that was stopped, verdicts, errors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2p.base.errors import ConfigError, Unavailable
from p2p.cli import conversation
from p2p.cli.chat import Talk
from p2p.cli.conversation import Conversation
from p2p.cli.terminal.styled import Line, plain
from p2p.client.events import Done, TermsShown, Token
from p2p.client.session import SessionDraw
from tests.cli.receipts import receipt


class Script:
    """A client that gives these events; an exception among them is raised."""

    def __init__(self, *events: Any) -> None:
        self.events, self.asked, self.status = events, list[Any](), "VALIDATED"

    @contextmanager
    def answer(self, question: Any) -> Iterator[Iterator[Any]]:
        self.asked.append(question)

        def events() -> Iterator[Any]:
            for one in self.events:
                if isinstance(one, BaseException):
                    raise one
                yield one

        yield events()

    def inference(self, inference_id: bytes) -> Any:
        return SimpleNamespace(id=inference_id.hex(), status=self.status, reason="", refunded_micro=7)


class Typed:
    """Lines that somebody types."""

    interactive = False

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def next(self) -> str | None:
        return self.lines.pop(0) if self.lines else None


def talk(client: Script, lines: Sequence[str], kept: Path | None = None) -> tuple[Talk, str]:
    """(the chat when it is over, all that it said)."""
    said: list[str] = []

    def say(event: str, told: dict[str, Any], shown: list[Line]) -> None:
        json.dumps(told)
        said.extend(map(plain, shown))

    options = argparse.Namespace(
        json=False, max_tokens=8, max_price=None, temperature=0, top_p=1000, top_k=0, min_p=0, presence_penalty=0,
        frequency_penalty=0,
    )
    chat = Talk(options, client, Conversation("m"), kept, say)  # type: ignore[arg-type]
    chat.status = chat.run(Typed(*lines))  # type: ignore[arg-type]
    return chat, "\n".join(said)


TERMS, DONE = TermsShown(10, 20, 50, 1000), Done(receipt(), "all of it")


def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    client = Script(TERMS, Token("as far", 1), KeyboardInterrupt())
    chat, said = talk(client, ["go", "/cost"], tmp_path / "sessions" / "a.json")
    assert [one.content for one in chat.conversation.messages] == ["go", "as far"]
    assert "what was streamed is paid for" in said
    assert conversation.load(tmp_path / "sessions" / "a.json", None, "x").messages == chat.conversation.messages


def test_stopped_before_the_first_token_nothing_is_kept() -> None:
    chat, said = talk(Script(TERMS, KeyboardInterrupt()), ["go"])
    assert chat.conversation.messages == []
    assert "before anything was answered" in said


def test_cost_executor_and_verdict_stand_beside_the_answer() -> None:
    client = Script(TERMS, Token("all ", 1), Token("of it", 2), DONE)
    _, said = talk(client, ["go", "again"])
    tokens = DONE.receipt.prompt_tokens + DONE.receipt.output_tokens
    assert f"{10 * tokens} micro-credits" in said
    assert DONE.receipt.executor.hex()[:12] in said
    assert said.count("answer 1: VALIDATED") == 1, "each verdict is said once"
    assert "(7 micro-credits came back)" in said
    assert [len(one.body.prompt.messages) for one in client.asked] == [1, 3]
    assert client.asked[0].session is client.asked[1].session


def test_an_error_ends_its_turn_alone_and_gives_the_exit_status() -> None:
    chat, said = talk(Script(Unavailable("nobody", field="peers")), ["one", "/hlep", "/save", ""])
    assert said.count("error: ") == 3
    assert "did you mean /help?" in said
    assert chat.status == Unavailable.exit_status
    bad, _ = talk(Script(TERMS, Done(receipt("wrong"), "x")), ["one"])
    assert bad.status == 3


def test_a_conversation_in_a_file_is_checked(tmp_path: Path) -> None:
    file = conversation.file_of(tmp_path, "a")
    kept = Conversation("m")
    kept.said("question", "answer")
    kept.session.draw = SessionDraw(b"1" * 32, "m", 7, b"2" * 32)
    kept.session.peer = "12D3"
    conversation.save(file, kept)
    again = conversation.load(file, "m", "other")
    assert (again.messages, again.session) == (kept.messages, kept.session)
    with pytest.raises(ConfigError, match="is with m"):
        conversation.load(file, "another", "m")
    for wrong in ("{", "[]", '{"model": 3}', '{"model": "m", "messages": [{"role": "king", "content": ""}]}'):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match="is damaged"):
            conversation.load(file, None, "m")
    for name in ("", "../x", "a/b", "." * 70):
        with pytest.raises(ConfigError):
            conversation.file_of(tmp_path, name)
