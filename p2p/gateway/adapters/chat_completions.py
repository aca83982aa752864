"""Answers of /v1/chat/completions. Law: as in writer.py."""

from __future__ import annotations

from typing import Any

from p2p.base.errors import FolkmootError
from p2p.gateway.adapters.logprobs import chat_logprobs
from p2p.gateway.adapters.writer import DONE, FINISH, About, Choice, Event, new_choices, openai_usage, usage_of
from p2p.gateway.core.pieces import CallBegin, CallDelta, Ended, Piece, Reason, Said
from p2p.gateway.core.refusals import openai_error
from p2p.gateway.types.chat_completions import ChatRequest


class ChatWriter:
    """Of one request."""

    def __init__(self, asked: ChatRequest, about: About) -> None:
        self._request = asked.request
        self._functions = asked.functions
        self._about = about
        self.choices: tuple[Choice, ...] = new_choices(asked.request.choices)

    def begin(self) -> list[Event]:
        return [self._chunk(at, {"role": "assistant", "content": ""}) for at in range(len(self.choices))]

    def feed(self, at: int, piece: Piece) -> list[Event]:
        self.choices[at].add(piece)
        match piece:
            case Said():
                return self._said(at, piece)
            case CallBegin() if self._functions:
                return [self._chunk(at, {"function_call": {"name": piece.name, "arguments": ""}})]
            case CallDelta() if self._functions:
                return [self._chunk(at, {"function_call": {"arguments": piece.arguments}})]
            case CallBegin():
                begun = {"index": piece.index, "id": piece.id, "type": "function"}
                return [self._call(at, begun | {"function": {"name": piece.name, "arguments": ""}})]
            case CallDelta():
                return [self._call(at, {"index": piece.index, "function": {"arguments": piece.arguments}})]
            case Ended():
                return [self._chunk(at, {}, self._finish(piece.reason))]
            case _:
                return []

    def end(self) -> list[Event]:
        events = [Event("", DONE)]
        if self._request.include_usage:
            chunk = self._about_it("chat.completion.chunk", [])
            events.insert(0, Event("", chunk | {"usage": openai_usage(usage_of(self.choices))}))
        return events

    def fail(self, error: FolkmootError) -> list[Event]:
        return [Event("", openai_error(error)), Event("", DONE)]

    def alive(self) -> None:
        return None

    def whole(self) -> dict[str, Any]:
        choices = [self._choice(at, choice) for at, choice in enumerate(self.choices)]
        return self._about_it("chat.completion", choices) | {"usage": openai_usage(usage_of(self.choices))}

    def _choice(self, at: int, choice: Choice) -> dict[str, Any]:
        finish = self._finish(choice.reason)
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.calls:
            message["content"] = choice.text or None
        if choice.calls and self._functions:
            call = choice.calls[0]
            message["function_call"] = {"name": call.name, "arguments": call.arguments}
        elif choice.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.calls
            ]
        logprobs = None
        if self._request.logprobs is not None:
            logprobs = self._logprobs(Said("", tuple(choice.rows)))
        return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def _finish(self, reason: Reason) -> str:
        return "function_call" if self._functions and reason is Reason.CALLS else FINISH[reason]

    def _said(self, at: int, piece: Said) -> list[Event]:
        if self._request.logprobs is None:
            return [self._chunk(at, {"content": piece.text})] if piece.text else []
        return [self._chunk(at, {"content": piece.text}, logprobs=self._logprobs(piece))]

    def _logprobs(self, piece: Said) -> dict[str, Any]:
        most = self._request.logprobs or 0
        return {"content": chat_logprobs(piece.rows, most, self._about.bytes_of), "refusal": None}

    def _call(self, at: int, call: dict[str, Any]) -> Event:
        return self._chunk(at, {"tool_calls": [call]})

    def _chunk(
        self, at: int, delta: dict[str, Any], finish: str | None = None, logprobs: dict[str, Any] | None = None,
    ) -> Event:
        choice = {"index": at, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = self._about_it("chat.completion.chunk", [choice])
        return Event("", chunk | {"usage": None} if self._request.include_usage else chunk)

    def _about_it(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        about = self._about
        return {"id": about.id, "object": kind, "created": about.created, "model": self._request.model,
                "choices": choices}
