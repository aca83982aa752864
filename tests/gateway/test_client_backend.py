"""The real backend over a scripted client: events become pieces, models and files are remembered, calls are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from p2p.base.body import Chat, ChatMessage, Role, Tool, one_message
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.types import FinishReason, Params
from p2p.gateway.core.backend import Asked
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Reason, Said, Started, Usage
from p2p.gateway.core.refusals import NotFound

pytest.importorskip("p2p.client.client")
pytest.importorskip("p2p.text.model_text")

from p2p.client.events import Accepted, Done, Event, TermsShown, Token, Trying
from p2p.client.model_card import ModelCard
from p2p.client.receipt import Receipt
from p2p.gateway.client_backend import ClientBackend, NetworkTools
from p2p.gateway.client_events import ClientEvents
from p2p.text.tool_formats.formats import FORMATS
from p2p.verification.artifact import Position

ASKED = Asked("m", one_message("hi"), Params(), 10, 4)
CARD = ModelCard("m", 4096, 3, "f32", True, "hermes", 1000, (0,), (), "11" * 32, "22" * 32, True)
BEGINNING = (
    TermsShown(3, 6, 14, 1000), Accepted(b"\x01" * 32, b"\x02" * 32, 7, b"\x03" * 32, (b"\x04" * 32,)),
    Trying(b"\x04" * 32, "peer"),
)


def done(stop: str = "", **more: Any) -> Done:
    """The end of an answer of two tokens."""
    facts: dict[str, Any] = {
        "inference_id": b"\x01" * 32, "executor": b"\x04" * 32, "agent": b"\x02" * 32, "peer": "peer",
        "artifact_root": bytes(32), "output_hash": bytes(32), "prompt_tokens": 4, "output_tokens": 2,
        "finish_reason": FinishReason.STOP, "draw_height": 7, "signature": bytes(64), "artifact_bytes": 9, "draw": None,
        "passed_over": (), "problems": (),
    }
    return Done(Receipt(**facts | more), "hello", stop)


def pieces(*events: Event) -> list[Started | Said | Ended]:
    reading = ClientEvents(ASKED)
    return [piece for event in events if (piece := reading.feed(event)) is not None]


def test_events_become_pieces() -> None:
    row = Position(5, -0.5, ((5, -0.5), (6, -1.0)), -2.0)
    found = pieces(*BEGINNING, Token("hello", 5, row), Token("", 6), done())
    assert found[0] == Started("01" * 32, "04" * 32, 3)
    assert isinstance(found[1], Said)
    assert (found[1].text, found[1].rows[0].top) == ("hello", ((5, -0.5), (6, -1.0)))
    assert found[2:] == [Ended(Reason.STOP, Usage(4, 2))]


def test_the_stop_string_that_ended_an_answer_is_told() -> None:
    found = pieces(*BEGINNING, Token("hello", 5), done("ab", finish_reason=FinishReason.STOP_STRING))
    assert found[-1] == Ended(Reason.STOP_STRING, Usage(4, 2), "ab")


def test_a_receipt_that_does_not_hold_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="the executor was not drawn"):
        pieces(*BEGINNING, done(problems=("the executor was not drawn",)))


def test_an_answer_that_went_on_elsewhere_counts_all_its_tokens() -> None:
    end = done(continues=(b"\x09" * 32,), prompt_tokens=5, output_tokens=1)
    found = pieces(*BEGINNING, Token("a", 5), *BEGINNING[1:], Token("b", 6), end)
    assert found[-1] == Ended(Reason.STOP, Usage(4, 2))


class ScriptedClient:
    """A fake client: one model, one answer."""

    def __init__(self) -> None:
        self.questions: list[Any] = []
        self.asked_for_models = 0
        self.is_left = False

    async def models(self) -> tuple[ModelCard, ...]:
        self.asked_for_models += 1
        return (CARD,)

    async def inference(self, inference_id: bytes) -> Any:
        raise InvalidRequest("not on the chain", field="id", code="not_found")

    @asynccontextmanager
    async def answer(self, question: Any) -> AsyncIterator[AsyncIterator[Event]]:
        self.questions.append(question)

        async def events() -> AsyncIterator[Event]:
            for event in (*BEGINNING, Token("hello", 5), done()):
                yield event

        yield events()
        self.is_left = True


async def test_a_question_goes_to_the_client_as_it_is() -> None:
    client = ScriptedClient()
    backend = ClientBackend(client)  # type: ignore[arg-type]
    async with backend.answer(ASKED) as found:
        kinds = [type(piece) async for piece in found]
    question = client.questions[0]
    assert (question.model, question.body, question.max_tokens, question.prompt_tokens) == ("m", ASKED.body, 10, 4)
    assert kinds == [Started, Said, Ended]
    assert client.is_left


async def test_models_are_remembered_for_a_while() -> None:
    client = ScriptedClient()
    backend = ClientBackend(client)  # type: ignore[arg-type]
    cards = [await backend.models() for _ in range(3)]
    assert (cards[0][0].name, cards[0][0].tool_format, client.asked_for_models) == ("m", "hermes", 1)
    with pytest.raises(NotFound):
        await backend.text("another")
    with pytest.raises(NotFound):
        await backend.inference("00" * 32)


def test_calls_are_read_by_the_models_format() -> None:
    tool = Tool("f", "", "{}")
    form = NetworkTools(FORMATS["hermes"])
    assert form.call_grammar((tool,), ("f",)).source
    reader = form.reader((tool,))
    found = [*reader.feed('Well.<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'), *reader.end()]
    kinds = [type(piece) for piece in found if not (isinstance(piece, Said) and not piece.text.strip())]
    assert kinds == [Said, CallBegin, CallDelta, CallEnd]
    assert Chat((ChatMessage(Role.USER, "x"),), (tool,)).tools
