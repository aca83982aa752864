"""A client in a thread of its own, for programs that do not run trio.

Law: the thread lives as long as the client is open. What is asked of it from outside is answered, fails, or is
cancelled; nothing waits for a thread that has ended. An answer runs at most CLIENT_AHEAD events ahead of its reader,
and not at all before it was accepted: so whoever leaves at TermsShown has nothing signed.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar

import trio

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.serving_limits import CLIENT_AHEAD
from p2p.client.client import Client
from p2p.client.events import Accepted, Event
from p2p.client.question import Question

T = TypeVar("T")


def _closed() -> Unavailable:
    return Unavailable("the client is closed; open another one", field="client", code="closed")


def _not_open() -> ConfigError:
    return ConfigError("the client is not open: ask inside its `with` block", field="client")


class Call(Generic[T]):
    """Something that the client does now. `future` has its result, error or cancellation."""

    def __init__(self, bridge: Bridge) -> None:
        self.future: Future[T] = Future()
        self._bridge = bridge
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        """From any thread. The future ends when the client has let go."""
        self._bridge.soon(self._scope.cancel)

    async def run(self, action: Callable[[Client], Awaitable[T]], client: Client) -> None:
        """In the client's thread. Never raises an error of `action`: that is the caller's."""
        try:
            with self._scope:
                self._end(result=await action(client))
        except trio.Cancelled:
            self._end(error=_closed())
            raise
        except BaseException as error:  # the edge of a thread: the caller raises it
            self._end(error=error)
            if not isinstance(error, Exception):
                raise
        self._end(error=Unavailable("the caller left", field="client", code="cancelled"))

    def fail(self, error: BaseException) -> None:
        self._end(error=error)

    def _end(self, result: Any = None, error: BaseException | None = None) -> None:
        """The first end counts."""
        with suppress(InvalidStateError):
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


class Bridge:
    """One client and its thread."""

    def __init__(self, opener: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self.opened: Future[None] = Future()  # done when the client can be asked, or could not be opened
        self.ended: Future[None] = Future()  # done when the thread is over
        self._opener = opener
        self._lock = threading.Lock()
        self._calls: set[Call[Any]] = set()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._run, name="folkmoot-client", daemon=True)
        self._has_begun = threading.Event()

    def start(self) -> None:
        """Returns at once; `opened` says when the client is open. Raises ConfigError the second time."""
        if self._thread.ident is not None:
            raise ConfigError("a client is opened once; make another one", field="client")
        self._thread.start()
        self._has_begun.wait()

    def stop(self) -> None:
        """From any thread: end what runs, and the thread. Returns at once; `ended` says when."""
        self.soon(self._scope.cancel)

    def soon(self, action: Callable[[], object]) -> bool:
        """Run `action` in the client's thread. False where that is over."""
        with suppress(trio.RunFinishedError):
            if self._token is not None:
                self._token.run_sync_soon(action)
                return True
        return False

    def call(self, action: Callable[[Client], Awaitable[T]]) -> Call[T]:
        """Begin `action`, from any thread. Raises ConfigError where the client was not opened."""
        if self._thread.ident is None:
            raise _not_open()
        call: Call[T] = Call(self)
        with self._lock:
            self._calls.add(call)
        call.future.add_done_callback(lambda _: self._forget(call))

        def begin() -> None:
            if self._nursery is None or self._client is None:
                call.fail(_closed())
            else:
                self._nursery.start_soon(call.run, action, self._client)

        if not self.soon(begin) or self.ended.done():
            call.fail(_closed())
        return call

    def stream(self, question: Question, deliver: Callable[[Event], None]) -> Flow:
        """Begin an answer. deliver: is called in the client's thread."""
        flow = Flow(self, deliver)
        flow.call = self.call(lambda client: flow.run(client, question))
        return flow

    def _forget(self, call: Call[Any]) -> None:
        with self._lock:
            self._calls.discard(call)

    def _run(self) -> None:
        error: BaseException = _closed()
        try:
            trio.run(self._main)
        except BaseException as raised:  # the edge of a thread: whoever opened the client raises it
            error = raised
        self._has_begun.set()
        if not self.opened.done():
            self.opened.set_exception(error)
        self.ended.set_result(None)
        with self._lock:
            left = list(self._calls)
        for call in left:
            call.fail(_closed())

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._has_begun.set()
        with self._scope:
            async with self._opener() as client, trio.open_nursery() as nursery:
                self._client, self._nursery = client, nursery
                self.opened.set_result(None)
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery = None


class Flow:
    """One answer on its way to a reader in another thread."""

    def __init__(self, bridge: Bridge, deliver: Callable[[Event], None]) -> None:
        self.call: Call[None]
        self._bridge = bridge
        self._deliver = deliver
        self._wanted = trio.Semaphore(0)

    def want(self) -> None:
        """The reader takes one more event."""
        self._bridge.soon(self._wanted.release)

    async def run(self, client: Client, question: Question) -> None:
        is_ahead = False
        async with client.answer(question) as events:
            while True:
                await self._wanted.acquire()
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
                self._deliver(event)
                if isinstance(event, Accepted) and not is_ahead:
                    is_ahead = True
                    for _ in range(CLIENT_AHEAD):
                        self._wanted.release()
