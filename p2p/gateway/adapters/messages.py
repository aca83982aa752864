"""Answers of /v1/messages, in Anthropic's words. Law: as in writer.py.

An answer is a list of blocks: text, and uses of tools. Where the model's arguments are no JSON object, `input` has them
as the text `_unparsed`, so that whoever runs the tool can say so to the model.
"""

from __future__ import annotations

import json
from typing import Any

from p2p.base.errors import FolkmootError
from p2p.gateway.adapters.writer import About, Choice, Event, new_choices
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Piece, Reason, Said, Usage
from p2p.gateway.core.refusals import anthropic_error
from p2p.gateway.core.request import GatewayRequest

_REASONS = {
    Reason.STOP: "end_turn", Reason.LENGTH: "max_tokens", Reason.CALLS: "tool_use",
    Reason.STOP_STRING: "stop_sequence",
}


class MessageWriter:
    """Of one request, which has one answer."""

    def __init__(self, request: GatewayRequest, about: About) -> None:
        self._request = request
        self._about = about
        self._blocks: list[dict[str, Any]] = []
        self._open = False  # whether the newest block is not complete
        self.choices: tuple[Choice, ...] = new_choices(1)

    def begin(self) -> list[Event]:
        message = self._message([], None, None, Usage(self._about.prompt_tokens))
        return [_event("message_start", message=message), _event("ping")]

    def feed(self, at: int, piece: Piece) -> list[Event]:
        self.choices[at].add(piece)
        match piece:
            case Said():
                return self._said(piece.text)
            case CallBegin():
                block = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
                return [*self._close(), self._start(block)]
            case CallDelta():
                return [self._delta({"type": "input_json_delta", "partial_json": piece.arguments})]
            case CallEnd():
                self._blocks[-1]["input"] = _input(self.choices[at].calls[-1].arguments)
                return self._close()
            case Ended():
                return self._close()
            case _:
                return []

    def end(self) -> list[Event]:
        ended = self.choices[0].checked()
        delta = {"stop_reason": _REASONS[ended.reason], "stop_sequence": self._stop(ended)}
        return [_event("message_delta", delta=delta, usage=_usage(ended.usage)), _event("message_stop")]

    def fail(self, error: FolkmootError) -> list[Event]:
        return [Event("error", anthropic_error(error, self._about.request_id))]

    def alive(self) -> Event:
        return _event("ping")

    def whole(self) -> dict[str, Any]:
        ended = self.choices[0].checked()
        return self._message(self._blocks, _REASONS[ended.reason], self._stop(ended), ended.usage)

    def _stop(self, ended: Ended) -> str | None:
        """The stop string that ended the answer, where it is known which one."""
        if ended.reason is not Reason.STOP_STRING:
            return None
        return ended.stop if ended.stop is not None or len(self._request.stop) != 1 else self._request.stop[0]

    def _said(self, text: str) -> list[Event]:
        if not text:
            return []
        events = []
        if not self._open or self._blocks[-1]["type"] != "text":
            events += [*self._close(), self._start({"type": "text", "text": ""})]
        self._blocks[-1]["text"] += text
        return [*events, self._delta({"type": "text_delta", "text": text})]

    def _start(self, block: dict[str, Any]) -> Event:
        self._blocks.append(block)
        self._open = True
        return _event("content_block_start", index=len(self._blocks) - 1, content_block=dict(block))

    def _delta(self, delta: dict[str, Any]) -> Event:
        return _event("content_block_delta", index=len(self._blocks) - 1, delta=delta)

    def _close(self) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        return [_event("content_block_stop", index=len(self._blocks) - 1)]

    def _message(
        self, blocks: list[dict[str, Any]], reason: str | None, stop: str | None, usage: Usage,
    ) -> dict[str, Any]:
        return {
            "id": self._about.id, "type": "message", "role": "assistant", "model": self._request.model,
            "content": blocks, "stop_reason": reason, "stop_sequence": stop, "usage": _usage(usage),
        }


def _event(kind: str, **data: Any) -> Event:
    return Event(kind, {"type": kind, **data})


def _input(arguments: str) -> dict[str, Any]:
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"_unparsed": arguments}


def _usage(usage: Usage) -> dict[str, Any]:
    """`input_tokens` are those that the cache did not have."""
    return {
        "input_tokens": usage.prompt - usage.cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached, "output_tokens": usage.completion,
    }
