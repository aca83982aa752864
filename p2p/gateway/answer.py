"""Answers one request of one API, as a stream or in one piece.

Law: an error before the first piece of the answer has its own status; one after it ends the stream with the API's own
error event, and no stream that failed looks complete. While nothing comes, the stream shows a sign of life.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import trio

from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.serving_limits import HEADERS_WAIT_S, KEEP_ALIVE_S
from p2p.gateway.adapters.writer import About, Choice, Event, Writer
from p2p.gateway.apis import Api, Opened
from p2p.gateway.core.answering import Answering
from p2p.gateway.core.backend import Asked, Backend, ModelCard, ModelText
from p2p.gateway.core.pieces import Ended, Failed, Piece, Started
from p2p.gateway.core.refusals import NotFound
from p2p.gateway.core.request import to_questions, tool_format
from p2p.gateway.core.running import running
from p2p.gateway.core.sessions import Sessions
from p2p.gateway.exchange import Pairs, as_bytes, headers_of, read_body, send_json
from p2p.gateway.http import sse
from p2p.gateway.http.asgi import Receive, Scope, Send
from p2p.gateway.metrics import Metrics
from p2p.gateway.timing import Timing
from p2p.gateway.types.shared import form_field

_LONG = 16_384  # characters of a prompt whose tokens are made in a thread: 5 ms of work
_MAX_HEADER = 1000  # characters of a header that grows with the request
_NOT_PLAIN = re.compile(r"[^ -~]")  # what a name may have in JSON and a header may not
# Parameters of which nobody here asks, because nothing that they say could show in an answer.
_CHANGE_NO_ANSWER = frozenset({
    "store", "service_tier", "safety_identifier", "client_metadata", "cache_control", "include", "stream_options",
    "metadata", "user", "prompt_cache_key", "inference_geo", "user_profile_id", "workspace_id", "diagnostics",
})


class _End(Enum):
    """No more pieces come."""

    END = 0


_END: Literal[_End.END] = _End.END
Pieces = trio.MemoryReceiveChannel[tuple[int, Piece]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests use."""

    backend: Backend
    sessions: Sessions
    metrics: Metrics


async def card_of(backend: Backend, name: str) -> ModelCard:
    """The model of that name. Raises NotFound(field='model')."""
    cards = await backend.models()
    found = next((card for card in cards if card.name == name), None)
    if found is None:
        names = ", ".join(card.name for card in cards[:8]) or "none"
        raise NotFound(f"no model {name[:80]!r} is served; there are: {names}", field="model", code="model_not_found")
    return found


class Endpoint:
    """The application behind one API's path."""

    def __init__(self, api: Api, shared: Shared) -> None:
        self._api = api
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        timing = Timing(scope["state"].get("began"))
        body = await read_body(headers, receive)
        opened = self._api.open(body, headers)
        ignored = [*opened.request.ignored, *(path for path in body.unread() if path not in _CHANGE_NO_ANSWER)]
        scope["state"]["ignored"] = ", ".join(ignored)
        timing.end("read")
        answer = await self._prepare(opened, scope["state"], timing)
        timing.end("prepare")
        try:
            async with running(self._shared.backend, answer.questions, answer.new_answering) as pieces:
                await (answer.stream(pieces, send) if opened.request.stream else answer.whole(pieces, send))
        except InvalidRequest as error:  # where the network makes the grammar, nobody knows what the caller called it
            if error.field != "grammar":
                raise
            name = form_field(body, opened.request.calling)
            raise InvalidRequest(error.message, field=name, code=error.code) from error

    async def _prepare(self, opened: Opened, state: dict[str, object], timing: Timing) -> _Answer:
        """Everything that can be refused is refused here."""
        backend, request = self._shared.backend, opened.request
        card = await card_of(backend, request.model)
        text = await backend.text(request.model)
        session = self._shared.sessions.of(request)
        if request.size > _LONG:
            questions = await trio.to_thread.run_sync(to_questions, request, card, text, session)
        else:
            questions = to_questions(request, card, text, session)
        about = About(
            self._api.prefix + secrets.token_hex(16), int(time.time()), sum(one.prompt_tokens for one in questions),
            text.bytes_of, str(state.get("request_id", "")),
        )
        return _Answer(
            self._api, opened, text, questions, about, opened.writer(about), self._shared.metrics, timing,
            str(state.get("ignored", "")),
        )


class _Answer:
    """The answer to one request, on its way."""

    def __init__(
        self, api: Api, opened: Opened, text: ModelText, questions: Sequence[Asked], about: About, writer: Writer,
        metrics: Metrics, timing: Timing, ignored: str,
    ) -> None:
        self.questions = questions
        self._api = api
        self._opened = opened
        self._text = text
        self._about = about
        self._writer = writer
        self._metrics = metrics
        self._timing = timing
        self._ignored = ignored
        self._has_begun = False  # whether a piece of the answer itself has come

    def new_answering(self) -> Answering:
        request = self._opened.request
        form = tool_format(request, self._text)
        return Answering(None if form is None else form.reader(request.tools), one_call=request.one_call)

    async def whole(self, pieces: Pieces, send: Send) -> None:
        """Answer when all is there. Raises the error of the first answer that failed."""
        async for at, piece in pieces:
            self._feed(at, piece)
        self._timing.end("network")
        plain = self._writer.whole()
        self._complete()
        await send_json(send, plain, 200, self._headers())

    async def stream(self, pieces: Pieces, send: Send) -> None:
        """Answer as it comes. Raises an error that comes before anything else."""
        first = await self._first(pieces)
        self._timing.end("network")
        await send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *self._headers()]})
        events = [*self._writer.begin()]
        try:
            for at, piece in first:
                events += self._feed(at, piece)
            await self._put(send, events)  # with the first token, and so the headers, in one write
            events = []
            while (found := await _next(pieces)) is not _END:
                if found is None:
                    sign = self._writer.alive()
                    await _put_bytes(send, sse.COMMENT if sign is None else _pack(sign))
                else:
                    await self._put(send, self._feed(*found))
            events += self._writer.end()
            self._complete()
        except FolkmootError as error:
            self._metrics.stream_failed(self._api.name)
            events += self._writer.fail(error)
        await self._put(send, events, is_last=True)

    async def _first(self, pieces: Pieces) -> list[tuple[int, Piece]]:
        """What comes before the stream begins: up to the first piece of an answer, or what comes in HEADERS_WAIT_S."""
        found: list[tuple[int, Piece]] = []
        with trio.move_on_after(HEADERS_WAIT_S):
            async for at, piece in pieces:
                found.append((at, piece))
                if isinstance(piece, Started):
                    self._writer.choices[at].add(piece)  # for the headers
                elif isinstance(piece, Failed):
                    raise piece.error
                else:
                    break
        return found

    def _feed(self, at: int, piece: Piece) -> list[Event]:
        """The events for a piece. Raises the error of an answer that failed."""
        if not self._has_begun and not isinstance(piece, Started | Failed):
            self._has_begun = True
            self._metrics.first_token(self._api.name, self._timing.so_far())
        if isinstance(piece, Ended):
            self._metrics.used(piece.usage)
        events = self._writer.feed(at, piece)
        if isinstance(piece, Failed):
            raise piece.error
        return events

    def _complete(self) -> None:
        self._opened.keep(self._about, self._writer)

    def _headers(self) -> Pairs:
        return [*answer_headers(self._ignored, self._writer.choices), (b"server-timing", self._timing.header())]

    async def _put(self, send: Send, events: Sequence[Event], *, is_last: bool = False) -> None:
        await _put_bytes(send, b"".join(map(_pack, events)), is_last=is_last)


def answer_headers(ignored: str, choices: Sequence[Choice]) -> Pairs:
    """Which inferences gave the answer, what a token costs, and what was accepted without effect."""
    started = [choice.started for choice in choices if choice.started is not None]
    values = {
        b"x-folkmoot-inference": ",".join(one.inference_id for one in started),
        b"x-folkmoot-executor": ",".join(one.executor for one in started),
        b"x-folkmoot-price": str(max((one.price_micro for one in started), default="")),
        b"x-folkmoot-ignored": _NOT_PLAIN.sub("?", ignored)[:_MAX_HEADER],
    }
    return [(name, value.encode("ascii", "replace")) for name, value in values.items() if value]


def _pack(event: Event) -> bytes:
    return sse.pack_event(event.name, event.data.encode() if isinstance(event.data, str) else as_bytes(event.data))


async def _next(pieces: Pieces) -> tuple[int, Piece] | _End | None:
    """The next piece; None where none came in KEEP_ALIVE_S."""
    with trio.move_on_after(KEEP_ALIVE_S):
        try:
            return await pieces.receive()
        except trio.EndOfChannel:
            return _END
    return None


async def _put_bytes(send: Send, data: bytes, *, is_last: bool = False) -> None:
    if data or is_last:
        await send({"type": "http.response.body", "body": data, "more_body": not is_last})
