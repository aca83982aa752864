"""A client for programs without an event loop.

Law: the same calls as p2p.client.Client; each blocks until its answer is here, and Ctrl-C ends the wait. The client
runs in a thread of its own (bridge.py). Any thread may ask.
"""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar, Unpack

from p2p.base.body import ChatMessage
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.serving_limits import CLIENT_CLOSE_S
from p2p.client import client as trio_client
from p2p.client.answer import Answer
from p2p.client.bridge import Bridge
from p2p.client.client import ChatOptions, TextOptions
from p2p.client.events import Event
from p2p.client.model_card import ModelCard
from p2p.client.model_files import ModelFiles
from p2p.client.question import Question
from p2p.wire.answers.accounts import AccountAnswer
from p2p.wire.answers.inferences import InferenceAnswer

T = TypeVar("T")


class Client:
    """A context manager. Parameters and errors: as `p2p.client.Client.open`."""

    def __init__(
        self, directory: Path | str | None = None, *, genesis: Genesis | None = None, key: Key | None = None,
        peers: Sequence[str] | None = None, account: bytes | None = None,
    ) -> None:
        self._bridge = Bridge(lambda: trio_client.Client.open(
            directory, genesis=genesis, key=key, peers=peers, account=account
        ))

    def __enter__(self) -> Client:
        self._bridge.start()
        try:
            self._bridge.opened.result()
        except BaseException:
            self._bridge.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bridge.stop()
        wait([self._bridge.ended], CLIENT_CLOSE_S)

    @contextmanager
    def answer(self, question: Question) -> Iterator[Iterator[Event]]:
        """The events of one answer, the last one is Done. Leave the block, and the answer ends; leave it at TermsShown,
        and nothing is signed."""
        came: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        flow = self._bridge.stream(question, came.put)
        flow.call.future.add_done_callback(lambda _: came.put(None))

        def events() -> Iterator[Event]:
            while True:
                flow.want()
                event = came.get()
                if event is None:
                    came.put(None)  # for whoever asks once more
                    flow.call.future.result()
                    return
                yield event

        try:
            yield events()
        finally:
            flow.call.cancel()
            wait([flow.call.future], CLIENT_CLOSE_S)

    def complete(self, question: Question, *, timeout_s: float | None = None) -> Answer:
        """The whole answer."""
        return self._do(lambda client: client.complete(question, timeout_s=timeout_s))

    def chat(self, model: str, messages: Sequence[ChatMessage] | str, **options: Unpack[ChatOptions]) -> Answer:
        """The model's next message. options: as Client.chat."""
        return self._do(lambda client: client.chat(model, messages, **options))

    def text(self, model: str, prompt: str, **options: Unpack[TextOptions]) -> Answer:
        """What the model continues `prompt` with. options: as Client.text."""
        return self._do(lambda client: client.text(model, prompt, **options))

    def counted(self, question: Question) -> Question:
        """The same question, with a bound on its prompt that the model's own tokenizer counted."""
        return self._do(lambda client: client.counted(question))

    def models(self) -> tuple[ModelCard, ...]:
        """The models in use."""
        return self._do(lambda client: client.models())

    def account(self, notices_since: int = 0) -> AccountAnswer:
        """Balance, nonces, hot keys and notices of later heights."""
        return self._do(lambda client: client.account(notices_since))

    def inference(self, inference_id: bytes) -> InferenceAnswer:
        """What became of an answer."""
        return self._do(lambda client: client.inference(inference_id))

    def model_text(self, model: str) -> ModelFiles:
        """A model's tokenizer and chat template."""
        return self._do(lambda client: client.model_text(model))

    def _do(self, action: Callable[[trio_client.Client], Awaitable[T]]) -> T:
        call = self._bridge.call(action)
        future: Future[T] = call.future
        try:
            return future.result()
        except BaseException:
            if not future.done():  # Ctrl-C
                call.cancel()
                wait([future], CLIENT_CLOSE_S)
            raise
