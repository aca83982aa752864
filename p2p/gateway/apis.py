"""The APIs that answer with text: how each reads a request and writes its answer.

Law: an API is its file in `types` and its file in `adapters`; this table is all that joins them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.base.body import ChatMessage, Role, ToolCall
from p2p.gateway.adapters.chat_completions import ChatWriter
from p2p.gateway.adapters.completions import CompletionWriter
from p2p.gateway.adapters.messages import MessageWriter
from p2p.gateway.adapters.responses import ResponseWriter
from p2p.gateway.adapters.writer import About, Writer
from p2p.gateway.core.fields import Fields
from p2p.gateway.core.request import GatewayRequest
from p2p.gateway.stored import Stored
from p2p.gateway.types import chat_completions, completions, messages, responses
from p2p.gateway.types.shared import Headers


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that was read."""

    request: GatewayRequest
    writer: Callable[[About], Writer]
    keep: Callable[[About, Writer], None] = lambda about, writer: None  # what is remembered of a complete answer


@dataclass(frozen=True, slots=True)
class Api:
    """One of them."""

    name: str  # in metrics
    path: str
    prefix: str  # of its answers' ids
    open: Callable[[Fields, Headers], Opened]


def all_apis(stored: Stored) -> tuple[Api, ...]:
    """The APIs of one gateway."""

    def chat(body: Fields, headers: Headers) -> Opened:
        asked = chat_completions.read(body, headers)
        return Opened(asked.request, lambda about: ChatWriter(asked, about))

    def completion(body: Fields, headers: Headers) -> Opened:
        asked = completions.read(body, headers)
        return Opened(asked.request, lambda about: CompletionWriter(asked, about))

    def message(body: Fields, headers: Headers) -> Opened:
        request = messages.read(body, headers)
        return Opened(request, lambda about: MessageWriter(request, about))

    def response(body: Fields, headers: Headers) -> Opened:
        asked = responses.read(body, headers, stored)

        def keep(about: About, writer: Writer) -> None:
            if asked.store:
                stored.keep(writer.whole(), (*asked.turns, _answer_of(writer)), body.raw("input"))

        return Opened(asked.request, lambda about: ResponseWriter(asked, about), keep)

    return (
        Api("chat_completions", "/v1/chat/completions", "chatcmpl-", chat),
        Api("completions", "/v1/completions", "cmpl-", completion),
        Api("responses", "/v1/responses", "resp_", response),
        Api("messages", "/v1/messages", "msg_", message),
    )


def _answer_of(writer: Writer) -> ChatMessage:
    """The answer as a turn of the conversation."""
    choice = writer.choices[0]
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in choice.calls)
    return ChatMessage(Role.ASSISTANT, choice.text, calls)
