"""Runs the questions of one request at the same time. Law: an error becomes a piece of its answer; when the caller
leaves, every answer ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.gateway.core.answering import Answering
from p2p.gateway.core.backend import Asked, Backend
from p2p.gateway.core.pieces import Ended, Failed, Piece, Said, Started

_AHEAD = 16  # pieces of a request that wait for a slow reader; then its answers wait


@asynccontextmanager
async def running(
    backend: Backend, questions: Sequence[Asked], new_answering: Callable[[], Answering],
) -> AsyncIterator[trio.MemoryReceiveChannel[tuple[int, Piece]]]:
    """(number of the question, piece) of all answers, in the order in which they come. The channel ends with the
    last."""
    send, receive = trio.open_memory_channel[tuple[int, Piece]](_AHEAD)
    async with trio.open_nursery() as nursery:
        async with send:
            for at, asked in enumerate(questions):
                nursery.start_soon(_run, backend, at, asked, new_answering(), send.clone())
        failed: FolkmootError | None = None
        try:
            yield receive
        except FolkmootError as error:  # through the nursery it would become a group
            failed = error
        finally:
            nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def _run(
    backend: Backend, at: int, asked: Asked, answering: Answering, send: trio.MemorySendChannel[tuple[int, Piece]],
) -> None:
    async with send:
        last: Started | Said | Ended | Failed | None = None
        try:
            async with backend.answer(asked) as pieces:
                async for last in pieces:
                    for piece in answering.feed(last):
                        await send.send((at, piece))
            if not isinstance(last, Ended):
                raise RemoteProtocolError("the answer ended without a receipt", field="receipt")
        except FolkmootError as error:
            await send.send((at, Failed(error)))
