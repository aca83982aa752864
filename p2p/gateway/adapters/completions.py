"""Answers of /v1/completions. Law: as in writer.py; a stream's chunks are the same objects as the answer."""

from __future__ import annotations

from typing import Any

from p2p.base.errors import FolkmootError
from p2p.gateway.adapters.logprobs import text_length, text_logprobs
from p2p.gateway.adapters.writer import DONE, FINISH, About, Choice, Event, new_choices, openai_usage, usage_of
from p2p.gateway.core.pieces import Ended, Piece, Row, Said
from p2p.gateway.core.refusals import openai_error
from p2p.gateway.types.completions import CompletionRequest


class CompletionWriter:
    """Of one request: the answers of the first prompt, then those of the second, ..."""

    def __init__(self, asked: CompletionRequest, about: About) -> None:
        self._request = asked.request
        self._echo = [text for text in asked.echo for _ in range(asked.request.n)]
        self._about = about
        self.choices: tuple[Choice, ...] = new_choices(asked.request.choices)
        self._offsets = [0] * len(self.choices)  # characters of the tokens that were shown with log-probabilities

    def begin(self) -> list[Event]:
        return [self._chunk(at, text) for at, text in enumerate(self._echo) if text]

    def feed(self, at: int, piece: Piece) -> list[Event]:
        self.choices[at].add(piece)
        if isinstance(piece, Said) and (piece.text or self._request.logprobs is not None):
            logprobs = self._logprobs(piece.rows, self._offsets[at])
            self._offsets[at] += text_length(piece.rows, self._about.bytes_of)
            return [self._chunk(at, piece.text, logprobs)]
        return [self._chunk(at, "", finish=FINISH[piece.reason])] if isinstance(piece, Ended) else []

    def end(self) -> list[Event]:
        events = [Event("", DONE)]
        if self._request.include_usage:
            events.insert(0, Event("", self._answer([]) | {"usage": openai_usage(usage_of(self.choices))}))
        return events

    def fail(self, error: FolkmootError) -> list[Event]:
        return [Event("", openai_error(error)), Event("", DONE)]

    def alive(self) -> None:
        return None

    def whole(self) -> dict[str, Any]:
        choices = [
            _choice(at, self._echo[at] + choice.text, self._logprobs(tuple(choice.rows), 0), FINISH[choice.reason])
            for at, choice in enumerate(self.choices)
        ]
        return self._answer(choices) | {"usage": openai_usage(usage_of(self.choices))}

    def _logprobs(self, rows: tuple[Row, ...], offset: int) -> dict[str, Any] | None:
        if self._request.logprobs is None:
            return None
        return text_logprobs(rows, self._request.logprobs, self._about.bytes_of, offset)

    def _chunk(self, at: int, text: str, logprobs: dict[str, Any] | None = None, finish: str | None = None) -> Event:
        return Event("", self._answer([_choice(at, text, logprobs, finish)]))

    def _answer(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        about = self._about
        return {"id": about.id, "object": "text_completion", "created": about.created, "model": self._request.model,
                "choices": choices}


def _choice(at: int, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> dict[str, Any]:
    return {"index": at, "text": text, "logprobs": logprobs, "finish_reason": finish}
