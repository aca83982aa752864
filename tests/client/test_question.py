"""The client's own bound on a prompt's tokens covers whatever a template makes of it."""

from __future__ import annotations

import pytest

from p2p.base.body import Body, Chat, ChatMessage, Role, TextPrompt, TokenPrompt, Tool, ToolCall, one_message
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_BODY, MAX_OUTPUT_TOKENS, MAX_STOPS
from p2p.base.token_ids import pack_ids
from p2p.base.types import Params
from p2p.client.question import CALL_TOKENS, MESSAGE_TOKENS, TEMPLATE_TOKENS, TOOLS_TOKENS, Question, prompt_bound
from p2p.client.question_check import encoded


@pytest.mark.parametrize(("body", "bound"), [
    (one_message("hello"), TEMPLATE_TOKENS + 5), (one_message("ä"), TEMPLATE_TOKENS + 2),
    (Body(TextPrompt("hello")), TEMPLATE_TOKENS + 5), (Body(TokenPrompt(pack_ids(range(7)))), 7),
    (Body(TokenPrompt(pack_ids(range(7))), begun=pack_ids([1, 2])), 9),
    (
        Body(Chat((ChatMessage(Role.SYSTEM, "ab"), ChatMessage(Role.USER, "cde", name="x")))),
        TEMPLATE_TOKENS + MESSAGE_TOKENS + 6
    ),
    (
        Body(Chat((ChatMessage(Role.USER, "a"), ChatMessage(Role.ASSISTANT, "", (ToolCall("i", "f", "{}"),))))),
        TEMPLATE_TOKENS + MESSAGE_TOKENS + 1 + 2 + 4 + CALL_TOKENS
    ),
    (
        Body(Chat((ChatMessage(Role.USER, "a"),), (Tool("f", "does", "{}"),))),
        TEMPLATE_TOKENS + 1 + TOOLS_TOKENS + 2 * 7 + CALL_TOKENS
    ),
])
def test_a_prompt_has_at_most_a_token_for_each_byte_and_what_a_template_adds(body: Body, bound: int) -> None:
    assert prompt_bound(body) == Question("m", body).prompt_bound == bound


def test_a_count_by_the_models_own_tokenizer_is_taken() -> None:
    question = Question("m", one_message("hello"), max_tokens=10, prompt_tokens=3)
    assert (question.prompt_bound, question.tokens) == (3, 13)


def test_a_body_that_is_wrong_or_too_large_is_refused_before_anybody_is_asked() -> None:
    for body, field in ((one_message(" "), "messages"), (Body(TextPrompt("")), "prompt"),
                        (Body(TextPrompt("a" * MAX_BODY)), "body")):
        with pytest.raises(InvalidRequest) as caught:
            encoded(Question("m", body))
        assert caught.value.field == field


@pytest.mark.parametrize(("question", "field"), [
    (Question("m", one_message("x"), max_tokens=0), "max_tokens"),
    (Question("m", one_message("x"), max_tokens=MAX_OUTPUT_TOKENS + 1), "max_tokens"),
    (Question("m", one_message("x"), max_price_micro=0), "max_price_micro"),
    (Question("m", one_message("x"), Params(top_p_milli=900)), "params"),
    (Question("m", Body(Chat(()))), "messages"), (Question("m", Body(TextPrompt("x"), ("",))), "stop"),
    (Question("m", Body(TextPrompt("x"), ("a",) * (MAX_STOPS + 1))), "stop"),
    (Question("m", one_message("\ud800")), "body"),
])
def test_what_a_caller_has_to_correct_is_told_by_its_name(question: Question, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encoded(question)
    assert caught.value.field == field
