"""Conversations: which requests belong together, and what is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.body import ChatMessage, Role
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_GATEWAY_SESSIONS, MAX_STORED_RESPONSES, MAX_STORED_TEXT
from p2p.gateway.app import new_app
from p2p.gateway.core.sessions import Sessions
from p2p.gateway.stored import Stored
from tests.gateway.asking import ask
from tests.gateway.scripted import ScriptedBackend

FIRST = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "I am Ann."}]
LATER = [*FIRST, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Who am I?"}]
OTHER = [FIRST[0], {"role": "user", "content": "I am Bob."}]


async def sessions_of(*requests: tuple[dict[str, Any], dict[str, str]]) -> list[Any]:
    """The sessions of these requests, one after the other at one gateway."""
    backend = ScriptedBackend()
    app = new_app(backend)
    for body, headers in requests:
        assert (await ask(app, "/v1/chat/completions", {"model": "tiny", **body}, headers=headers)).status == 200
    return [asked.session for asked in backend.asked]


async def test_the_turns_of_a_conversation_share_a_session_without_the_callers_help() -> None:
    first, later, other = await sessions_of(*(({"messages": turns}, {}) for turns in (FIRST, LATER, OTHER)))
    assert first is later
    assert first is not other


@pytest.mark.parametrize(("more", "headers"), [
    ({"prompt_cache_key": "k"}, {}), ({"user": "k"}, {}), ({"metadata": {"session_id": "k"}}, {}),
    ({"metadata": {"user_id": "k"}}, {}), ({}, {"X-Folkmoot-Session": "k"}),
])
async def test_a_name_makes_one_session_of_different_beginnings(more: dict[str, Any], headers: dict[str, str]) -> None:
    first, other = await sessions_of(({"messages": FIRST, **more}, headers), ({"messages": OTHER, **more}, headers))
    assert first is other


async def test_the_header_counts_before_all_others_and_two_names_are_two_sessions() -> None:
    first, second = await sessions_of(
        ({"messages": FIRST, "user": "k"}, {"X-Folkmoot-Session": "a"}),
        ({"messages": FIRST, "user": "k"}, {"X-Folkmoot-Session": "b"}),
    )
    assert first is not second


async def test_another_model_is_another_session() -> None:
    cards = ScriptedBackend().cards
    other = type(cards[0])("tiny-2", 4096, 1, "scripted")
    backend = ScriptedBackend(cards=(*cards, other))
    app = new_app(backend)
    for model in ("tiny", "tiny-2"):
        await ask(app, "/v1/chat/completions", {"model": model, "messages": FIRST, "user": "k"})
    assert backend.asked[0].session is not backend.asked[1].session


async def test_the_least_used_conversation_is_forgotten_first() -> None:
    from p2p.gateway.core.fields import Fields
    from p2p.gateway.types.chat_completions import read

    sessions = Sessions(object)

    def of(name: str) -> object:
        return sessions.of(read(Fields({"model": "m", "messages": FIRST, "user": name}), {}).request)

    kept, lost = of("kept"), of("lost")
    for number in range(MAX_GATEWAY_SESSIONS - 1):
        of(f"user {number}")
        assert of("kept") is kept
    assert len(sessions) == MAX_GATEWAY_SESSIONS
    assert of("lost") is not lost


def test_stored_responses_are_bounded_by_number_and_text() -> None:
    stored, turns = Stored(), (ChatMessage(Role.USER, "hi"),)
    for number in range(MAX_STORED_RESPONSES + 1):
        stored.keep({"id": f"resp_{number}", "output": [{"id": f"msg_{number}"}]}, turns)
    assert len(stored) == MAX_STORED_RESPONSES
    assert (stored.item("msg_0"), stored.item("msg_1")) == (None, {"id": "msg_1"})
    with pytest.raises(InvalidRequest):
        stored.conversation("resp_0")
    stored.keep({"id": "large"}, (ChatMessage(Role.USER, "x" * (MAX_STORED_TEXT - 50)),))
    assert len(stored) == 1
    assert stored.conversation("large")
    stored.keep({"id": "larger"}, (ChatMessage(Role.USER, "x" * MAX_STORED_TEXT),))
    assert len(stored) == 0
