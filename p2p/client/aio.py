"""A client for programs that run asyncio.

Law: the same calls as p2p.client.Client. The client runs trio in a thread of its own (bridge.py). A task that is
cancelled ends what it asked for, and what ends in the client ends in its task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

from p2p.base.body import ChatMessage
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.serving_limits import CLIENT_CLOSE_S
from p2p.client import client as trio_client
from p2p.client.answer import Answer
from p2p.client.bridge import Bridge, Call
from p2p.client.client import ChatOptions, TextOptions
from p2p.client.events import Event
from p2p.client.model_card import ModelCard
from p2p.client.model_files import ModelFiles
from p2p.client.question import Question
from p2p.wire.answers.accounts import AccountAnswer
from p2p.wire.answers.inferences import InferenceAnswer

T = TypeVar("T")


class Client:
    """An async context manager. Parameters and errors: as `p2p.client.Client.open`. Any number of tasks of one event
    loop may ask at once."""

    def __init__(
        self, directory: Path | str | None = None, *, genesis: Genesis | None = None, key: Key | None = None,
        peers: Sequence[str] | None = None, account: bytes | None = None,
    ) -> None:
        self._bridge = Bridge(lambda: trio_client.Client.open(
            directory, genesis=genesis, key=key, peers=peers, account=account
        ))

    async def __aenter__(self) -> Client:
        self._bridge.start()
        try:
            await _result(self._bridge.opened)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._bridge.stop()
        await _ended(self._bridge.ended)

    @asynccontextmanager
    async def answer(self, question: Question) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of one answer, the last one is Done. Leave the block, and the answer ends; leave it at TermsShown,
        and nothing is signed."""
        loop = asyncio.get_running_loop()
        came: asyncio.Queue[Event | None] = asyncio.Queue()

        def deliver(event: Event | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(came.put_nowait, event)

        flow = self._bridge.stream(question, deliver)
        flow.call.future.add_done_callback(lambda _: deliver(None))

        async def events() -> AsyncIterator[Event]:
            while True:
                flow.want()
                event = await came.get()
                if event is None:
                    came.put_nowait(None)  # for whoever asks once more
                    flow.call.future.result()
                    return
                yield event

        try:
            yield events()
        finally:
            flow.call.cancel()
            await _ended(flow.call.future)

    async def complete(self, question: Question, *, timeout_s: float | None = None) -> Answer:
        """The whole answer."""
        return await self._do(lambda client: client.complete(question, timeout_s=timeout_s))

    async def chat(self, model: str, messages: Sequence[ChatMessage] | str, **options: Unpack[ChatOptions]) -> Answer:
        """The model's next message. options: as Client.chat."""
        return await self._do(lambda client: client.chat(model, messages, **options))

    async def text(self, model: str, prompt: str, **options: Unpack[TextOptions]) -> Answer:
        """What the model continues `prompt` with. options: as Client.text."""
        return await self._do(lambda client: client.text(model, prompt, **options))

    async def counted(self, question: Question) -> Question:
        """The same question, with a bound on its prompt that the model's own tokenizer counted."""
        return await self._do(lambda client: client.counted(question))

    async def models(self) -> tuple[ModelCard, ...]:
        """The models in use."""
        return await self._do(lambda client: client.models())

    async def account(self, notices_since: int = 0) -> AccountAnswer:
        """Balance, nonces, hot keys and notices of later heights."""
        return await self._do(lambda client: client.account(notices_since))

    async def inference(self, inference_id: bytes) -> InferenceAnswer:
        """What became of an answer."""
        return await self._do(lambda client: client.inference(inference_id))

    async def model_text(self, model: str) -> ModelFiles:
        """A model's tokenizer and chat template."""
        return await self._do(lambda client: client.model_text(model))

    async def _do(self, action: Callable[[trio_client.Client], Awaitable[T]]) -> T:
        call: Call[T] = self._bridge.call(action)
        try:
            return await _result(call.future)
        except asyncio.CancelledError:
            call.cancel()
            await _ended(call.future)
            raise


async def _result(future: Future[T]) -> T:
    """Its result or error. A task that is cancelled here does not cancel the future, which the client's thread ends."""
    found = asyncio.wrap_future(future)
    found.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have left
    return await asyncio.shield(found)


async def _ended(future: Future[Any]) -> None:
    """Wait until it has ended, however, for CLIENT_CLOSE_S at most."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), CLIENT_CLOSE_S)
