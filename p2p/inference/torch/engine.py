"""The Engine protocol on plain torch and transformers, the second stack besides vLLM. Law: the caller gets tokens,
Overloaded or Unavailable within a time limit.

    from p2p.inference.torch.engine import TorchModel, torch_engine
    model = TorchModel(path)                      # synchronous: see model.py and decode.py
    async with torch_engine(path) as engine: ...  # trio: the Engine protocol, batching in one worker thread

Importing this module imports torch, which takes seconds: import it where it is used.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import partial
from pathlib import Path

import trio

from p2p.base.errors import Unavailable
from p2p.base.limits import (
    ENGINE_START_TIMEOUT_S,
    ENGINE_STOP_TIMEOUT_S,
    FIRST_TOKEN_TIMEOUT_S,
    SCORE_TIMEOUT_S,
    TOKEN_TIMEOUT_S,
)
from p2p.base.serving_limits import MAX_ENGINE_QUEUE, MAX_ENGINE_ROWS
from p2p.inference.torch.decode import Decoder
from p2p.inference.torch.model import TorchModel
from p2p.inference.torch.worker import Delivery, Score, Ticket, Worker
from p2p.scheduling.turns import ANSWER, priority_of
from p2p.verification.engine import Job, Row, TokenStep

__all__ = ["TorchEngine", "TorchModel", "torch_engine"]


class TorchEngine:
    """An Engine on a loaded model. rows: sequences in one batch at most; queue: jobs that may wait. `aclose` ends
    its thread. decoder: makes the batch."""

    def __init__(
        self, model: TorchModel, *, rows: int = MAX_ENGINE_ROWS, queue: int = MAX_ENGINE_QUEUE,
        decoder: Callable[[TorchModel, int], Decoder] = Decoder,
    ) -> None:
        self.model = model
        self._worker = Worker(model, rows, queue, decoder)
        self._worker.start()
        self._due = ANSWER

    def by(self, due: float) -> TorchEngine:
        """The same engine, for checks that let answers pass until that time, in seconds since 1970."""
        other = copy(self)
        other._due = priority_of(due, time.time())
        return other

    @property
    def stack(self) -> str:
        return self.model.stack

    async def generate(self, job: Job) -> AsyncGenerator[TokenStep, None]:
        left = job.max_tokens - len(job.prefix)
        if left <= 0:
            return
        ticket, receive = _ticket(job, left + 1)
        try:
            self._worker.submit(ticket)
            item = await _next(receive, FIRST_TOKEN_TIMEOUT_S)
            while item is not None:
                assert isinstance(item, TokenStep)
                yield item
                item = await _next(receive, TOKEN_TIMEOUT_S)
        finally:
            ticket.cancelled = True

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        return await self._scored(Score(tuple(prompt_tokens), tuple(output_tokens), top, self._due))

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        return await self._scored(Score((*job.prompt_tokens, *job.begun), job.prefix, top, self._due, job))

    async def _scored(self, work: Score) -> tuple[Row, ...]:
        ticket, receive = _ticket(work, 1)
        try:
            self._worker.submit(ticket)
            rows = await _next(receive, SCORE_TIMEOUT_S)
        finally:
            ticket.cancelled = True
        assert isinstance(rows, tuple)
        return rows

    async def health(self) -> bool:
        return self._worker.healthy()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._worker.close, ENGINE_STOP_TIMEOUT_S)


@asynccontextmanager
async def torch_engine(
    path: Path, *, dtype: str = "bfloat16", device: str | None = None, kv_cache: str = "model",
    threads: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[TorchEngine]:
    """An engine on the model in folder `path`, for the block that follows. Weights are loaded in a thread. dtype,
    device, kv_cache, threads: see TorchModel. progress: gets lines for people. Raises ConfigError, Unavailable."""
    progress(f"torch: loading {path.name}")
    load = partial(TorchModel, path, dtype=dtype, device=device, kv_cache=kv_cache, threads=threads)
    with _within(ENGINE_START_TIMEOUT_S):
        model = await trio.to_thread.run_sync(load, abandon_on_cancel=True)  # type: ignore[call-arg]  # old stubs
    engine = TorchEngine(model)
    try:
        yield engine
    finally:
        await engine.aclose()


def _ticket(work: Job | Score, room: int) -> tuple[Ticket, trio.MemoryReceiveChannel[Delivery]]:
    """A ticket whose deliveries arrive in a channel. room: as many as there can be, the end included."""
    send, receive = trio.open_memory_channel[Delivery](room)
    loop = trio.lowlevel.current_trio_token()

    def put(item: Delivery) -> None:
        try:
            send.send_nowait(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.WouldBlock):
            ticket.cancelled = True

    ticket = Ticket(work, lambda item: loop.run_sync_soon(put, item))
    return ticket, receive


async def _next(receive: trio.MemoryReceiveChannel[Delivery], timeout_s: float) -> Delivery:
    with _within(timeout_s):
        item = await receive.receive()
    if isinstance(item, Exception):
        raise item
    return item


@contextmanager
def _within(timeout_s: float) -> Iterator[None]:
    """Raises Unavailable when the block takes longer."""
    try:
        with trio.fail_after(timeout_s):
            yield
    except trio.TooSlowError as error:
        raise Unavailable(f"the torch engine did not answer within {timeout_s:g} s", field="ml_node") from error
