"""Answers of /v1/responses. Law: as in writer.py; the events come in OpenAI's order, numbered from 0, and the last one
holds the whole answer.

An answer is a list of items: messages, and calls of functions.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from p2p.base.errors import FolkmootError
from p2p.gateway.adapters.logprobs import chat_logprobs
from p2p.gateway.adapters.writer import DONE, About, Choice, Event, new_choices
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Piece, Reason, Said, Usage
from p2p.gateway.core.refusals import openai_error, status_of
from p2p.gateway.types.responses import ResponsesRequest


@dataclass(slots=True)
class _Item:
    """One item of the output, as far as it has come."""

    id: str
    call: CallBegin | None = None  # None: a message
    text: str = ""  # of the message, or the arguments of the call
    status: str = "in_progress"
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def part(self) -> dict[str, Any]:
        """The message's only part."""
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs}

    def plain(self, *, is_new: bool = False) -> dict[str, Any]:
        if self.call is not None:
            return {"type": "function_call", "id": self.id, "call_id": self.call.id, "name": self.call.name,
                    "arguments": self.text, "status": self.status}
        return {"type": "message", "id": self.id, "status": self.status, "role": "assistant",
                "content": [] if is_new else [self.part()]}


class ResponseWriter:
    """Of one request, which has one answer."""

    def __init__(self, asked: ResponsesRequest, about: About) -> None:
        self._asked = asked
        self._about = about
        self._items: list[_Item] = []
        self._number = 0  # of the next event
        self.choices: tuple[Choice, ...] = new_choices(1)

    def begin(self) -> list[Event]:
        return [self._whole_event("created", "in_progress"), self._whole_event("in_progress", "in_progress")]

    def feed(self, at: int, piece: Piece) -> list[Event]:
        self.choices[at].add(piece)
        match piece:
            case Said():
                return self._said(piece)
            case CallBegin():
                return [*self._close(), *self._open(_Item(_new_id("fc"), piece))]
            case CallDelta():
                item = self._items[-1]
                item.text += piece.arguments
                return [self._event("function_call_arguments.delta", item, delta=piece.arguments)]
            case CallEnd():
                return self._close("incomplete" if piece.is_cut else "completed")
            case Ended():
                opened = [] if self._items else self._open(_Item(_new_id("msg")))
                cut = piece.reason is Reason.LENGTH
                return [*opened, *self._close("incomplete" if cut else "completed")]
            case _:
                return []

    def end(self) -> list[Event]:
        status = self._status()
        return [self._whole_event(status, status), Event("", DONE)]

    def fail(self, error: FolkmootError) -> list[Event]:
        found = openai_error(error)["error"]
        code = "rate_limit_exceeded" if status_of(error) == 429 else "server_error"
        about = self._response("failed") | {"error": {"code": code, "message": found["message"]}}
        return [self._numbered("response.failed", {"response": about}), Event("", DONE)]

    def alive(self) -> None:
        return None

    def whole(self) -> dict[str, Any]:
        self.choices[0].checked()
        return self._response(self._status())

    def _status(self) -> str:
        return "incomplete" if self.choices[0].reason is Reason.LENGTH else "completed"

    def _said(self, piece: Said) -> list[Event]:
        wanted = self._asked.request.logprobs
        logprobs = [] if wanted is None else chat_logprobs(piece.rows, wanted, self._about.bytes_of)
        if not piece.text and not logprobs:
            return []
        if self._items and self._items[-1].call is not None and not piece.text:
            return []  # rows of a call's tokens: only messages have log-probabilities
        events: list[Event] = []
        if not self._items or self._items[-1].status != "in_progress" or self._items[-1].call is not None:
            events += self._open(_Item(_new_id("msg")))
        item = self._items[-1]
        item.text += piece.text
        item.logprobs += logprobs
        events.append(self._event("output_text.delta", item, content_index=0, delta=piece.text, logprobs=logprobs))
        return events

    def _open(self, item: _Item) -> list[Event]:
        self._items.append(item)
        events = [self._item_event("added", item, is_new=True)]
        if item.call is None:
            events.append(self._event("content_part.added", item, content_index=0, part=item.part()))
        return events

    def _close(self, status: str = "completed") -> list[Event]:
        """The end of the newest item, where it is open."""
        if not self._items or self._items[-1].status != "in_progress":
            return []
        item = self._items[-1]
        item.status = status
        if item.call is not None:
            events = [self._event("function_call_arguments.done", item, name=item.call.name, arguments=item.text)]
        else:
            done = {"text": item.text, "logprobs": list(item.logprobs)}
            events = [
                self._event("output_text.done", item, content_index=0, **done),
                self._event("content_part.done", item, content_index=0, part=item.part()),
            ]
        return [*events, self._item_event("done", item)]

    def _event(self, kind: str, item: _Item, **more: Any) -> Event:
        return self._numbered(f"response.{kind}", {"item_id": item.id, "output_index": len(self._items) - 1, **more})

    def _item_event(self, what: str, item: _Item, *, is_new: bool = False) -> Event:
        about = {"output_index": len(self._items) - 1, "item": item.plain(is_new=is_new)}
        return self._numbered(f"response.output_item.{what}", about)

    def _whole_event(self, what: str, status: str) -> Event:
        return self._numbered(f"response.{what}", {"response": self._response(status)})

    def _numbered(self, kind: str, data: dict[str, Any]) -> Event:
        self._number += 1
        return Event(kind, {"type": kind, "sequence_number": self._number - 1, **data})

    def _response(self, status: str) -> dict[str, Any]:
        ended, request, body = self.choices[0].ended, self._asked.request, self._asked.body
        over = status in ("completed", "incomplete")
        params = request.params
        return {
            "id": self._about.id, "object": "response", "created_at": self._about.created,
            "completed_at": self._about.created if status == "completed" else None, "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": request.model, "previous_response_id": body.raw("previous_response_id"),
            "instructions": body.raw("instructions"), "output": [item.plain() for item in self._items], "error": None,
            "tools": [_tool(one) for one in body.raw("tools") or ()],
            "tool_choice": body.raw("tool_choice") or "auto", "truncation": body.raw("truncation") or "disabled",
            "parallel_tool_calls": not request.one_call,
            "text": {"format": {"type": "text"}} | (body.raw("text") or {}),
            "top_p": params.top_p_milli / 1000, "presence_penalty": params.presence_milli / 1000,
            "frequency_penalty": params.frequency_milli / 1000, "top_logprobs": request.logprobs or 0,
            "temperature": params.temperature_milli / 1000, "reasoning": {"effort": None, "summary": None},
            "usage": _usage(ended.usage) if over and ended is not None else None,
            "max_output_tokens": request.max_tokens, "max_tool_calls": None, "store": self._asked.store,
            "background": False, "service_tier": "default", "metadata": body.raw("metadata") or {},
            "safety_identifier": body.raw("safety_identifier"), "prompt_cache_key": body.raw("prompt_cache_key"),
            "user": body.raw("user"),
        }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as it was sent, with the members that readers expect."""
    if tool.get("type") != "function":
        return tool
    function = tool.get("function") or tool
    names = ("name", "description", "parameters", "strict")
    return {"type": "function"} | {name: function.get(name) for name in names}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt, "output_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
