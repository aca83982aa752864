"""The explorer's application: its files, its API, its stream of events.

Law: GET only, open to everybody, and bounded for that: so many requests at once, so many answers made in a second, so
many listeners. It answers nothing that a stranger could not ask a peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded
from p2p.base.serving_limits import EXPLORER_REQUESTS, KEEP_ALIVE_S
from p2p.explorer.answers import Answers
from p2p.explorer.asked import Asked, read_query
from p2p.explorer.cache import Cache
from p2p.explorer.feed import Feed, News
from p2p.explorer.source import Rate
from p2p.explorer.static import HEADERS, File
from p2p.gateway.core.refusals import MethodNotAllowed, NotFound, openai_error, retry_after, status_of
from p2p.gateway.exchange import as_bytes, headers_of
from p2p.gateway.http import sse
from p2p.gateway.http.asgi import App, Receive, Scope, Send

log = structlog.get_logger(__name__)

API = "/explorer/api/"
_SOON_S = 1.0  # for which an answer about the tip is kept
_LONG_S = 600.0  # and one that does not change
_PAGES = {"/explorer/": "index.html", "/chat/": "chat.html"}
_MOVED = {"/": "/explorer/", "/explorer": "/explorer/", "/chat": "/chat/"}
Pairs = list[tuple[bytes, bytes]]
Make = Callable[[Asked], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Path:
    """One path of the API."""

    make: Make
    parameters: tuple[str, ...] = ()
    part: str = ""  # name of what follows the path; empty: nothing
    seconds: float = _SOON_S


def paths(answers: Answers) -> dict[str, Path]:
    """Of the API, by their beginning."""
    page = ("before", "limit")
    return {
        "overview": Path(answers.overview),
        "map": Path(answers.map),
        "blocks": Path(answers.blocks, page),
        "blocks/": Path(answers.block, part="height", seconds=_LONG_S),
        "headers/": Path(answers.header, part="height", seconds=_LONG_S),
        "inferences": Path(answers.inferences, (*page, "status", "node", "account")),
        "inferences/": Path(answers.inference, part="id"),
        "draws/": Path(answers.draw, part="id"),
        "participants": Path(answers.participants, ("start", "limit")),
        "participants/": Path(answers.participant, part="id"),
        "accounts/": Path(answers.account, part="id"),
        "hosts": Path(answers.hosts),
        "epochs": Path(answers.epochs, ("before",)),
        "prices": Path(answers.prices),
        "consensus": Path(answers.consensus, page),
        "search": Path(answers.search, ("q",)),
    }


class Explorer:
    """Answers every path that it is given."""

    def __init__(self, answers: Answers, feed: Feed, files: dict[str, File], rate: Rate, *, chat: bool) -> None:
        self._paths, self._feed, self._files, self._rate = paths(answers), feed, files, rate
        self._cache = Cache()
        self._running = 0
        self._chat = chat

    def answers_path(self, path: str) -> bool:
        """Whether a path is one of these pages."""
        return path in _MOVED or path.startswith(tuple(_PAGES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._answer(scope, watched)
        except FolkmootError as error:
            if started:
                raise RuntimeError("an answer broke off") from error
            await _send_error(send, error)

    async def _answer(self, scope: Scope, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("these pages only show; use GET")
        if path == f"{API}events":
            await self._events(headers_of(scope), send)
            return
        if self._running >= EXPLORER_REQUESTS:
            raise Overloaded(f"{EXPLORER_REQUESTS} requests are in progress here; ask again soon", retry_after=1)
        self._running += 1
        try:
            if path.startswith(API):
                await self._api(path.removeprefix(API), scope, send)
            elif path in _MOVED:
                await _send(send, 302, b"", [(b"location", _MOVED[path].encode())])
            else:
                await self._file(path, scope, send)
        finally:
            self._running -= 1

    async def _file(self, path: str, scope: Scope, send: Send) -> None:
        top = next((top for top in _PAGES if path.startswith(top)), "/explorer/")
        file = self._files.get(_PAGES[top] if path == top else path.removeprefix(top))
        if file is None or (top == "/chat/" and not self._chat):
            raise NotFound(f"there is no {path[:100]} here; the pages begin at /explorer/", code="unknown_url")
        headers = headers_of(scope)
        more: Pairs = [(b"content-type", file.kind), (b"cache-control", b"no-cache"), (b"etag", file.tag.encode()),
                       (b"vary", b"accept-encoding")]
        if headers.get("if-none-match") == file.tag:
            await _send(send, 304, b"", more)
            return
        if file.packed is not None and "gzip" in headers.get("accept-encoding", ""):
            await _send(send, 200, file.packed, [*more, (b"content-encoding", b"gzip")])
            return
        await _send(send, 200, file.body, more)

    async def _api(self, rest: str, scope: Scope, send: Send) -> None:
        name, slash, part = rest.partition("/")
        found = self._paths.get(name + slash)
        if found is None or "/" in part or bool(part) != bool(found.part):
            raise NotFound(
                f"there is no {API}{rest[:80]}; there are: {', '.join(sorted(self._paths))}, events",
                code="unknown_url",
            )
        asked = read_query(scope["query_string"], found.parameters)
        if found.part:
            asked = Asked({**asked.values, found.part: part})
        key = f"{name}{slash}?{sorted(asked.values.items())}"

        async def make() -> Any:
            self._rate.take()
            return await found.make(asked)

        ready = await self._cache.get(key, found.seconds, make)
        more: Pairs = [(b"content-type", b"application/json"), (b"etag", ready.tag.encode()),
                       (b"cache-control", b"max-age=600" if found.seconds > _SOON_S else b"no-cache")]
        same = headers_of(scope).get("if-none-match") == ready.tag
        await _send(send, 304 if same else 200, b"" if same else ready.body, more)

    async def _events(self, headers: dict[str, str], send: Send) -> None:
        async with self._feed.listen(headers.get("last-event-id", "")[:40]) as (missed, coming):
            await send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *HEADERS]})
            await _put(send, b"retry: 3000\n\n" + sse.COMMENT + b"".join(map(self._pack, missed)))
            while True:
                with trio.move_on_after(KEEP_ALIVE_S):
                    try:
                        await _put(send, self._pack(await coming.receive()))
                    except (trio.EndOfChannel, trio.ClosedResourceError):
                        break
                    continue
                await _put(send, sse.COMMENT)
            await send({"type": "http.response.body", "body": b""})

    def _pack(self, news: News) -> bytes:
        return b"id: %s\n" % self._feed.id_of(news).encode() + sse.pack_event(news.name, news.data)


class Beside:
    """Pages and another application on one port."""

    def __init__(self, pages: Explorer, other: App) -> None:
        self._pages, self._other = pages, other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shows = self._pages.answers_path(scope["path"]) and scope["method"] != "POST"  # someone's /chat/completions
        app: App = self._pages if shows else self._other
        await app(scope, receive, send)


async def nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    """The application beside pages that are alone on their port."""
    await _send_error(send, NotFound("there is nothing here; the pages begin at /explorer/", code="unknown_url"))


async def _put(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _send(send: Send, status: int, body: bytes, more: Pairs) -> None:
    length: Pairs = [] if status == 304 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*more, *length, *HEADERS]})
    await send({"type": "http.response.body", "body": body})


async def _send_error(send: Send, error: FolkmootError) -> None:
    found = NotFound(error.message, field=error.field, code="not_found") if _is_missing(error) else error
    wait = retry_after(found)
    more: Pairs = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if wait is not None:
        more.append((b"retry-after", str(wait).encode()))
    await _send(send, status_of(found), as_bytes(openai_error(found)), more)


def _is_missing(error: FolkmootError) -> bool:
    return isinstance(error, InvalidRequest) and error.code == "not_found"
