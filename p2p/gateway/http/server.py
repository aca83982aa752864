"""An HTTP/1.1 server for one ASGI application, on trio and h11.

Law: whatever a client does or leaves undone ends within a limit, and takes nothing from other clients. A client that
leaves ends its request at once: the application is cancelled.

Decision 061 says why no server from PyPI is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from p2p.base import serving_limits as limits
from p2p.gateway.http.asgi import App
from p2p.gateway.http.connection import Connection, Timing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take. Tests set less."""

    connections: int = limits.MAX_HTTP_CONNECTIONS
    timing: Timing = field(default_factory=Timing)
    drain_s: float = limits.HTTP_DRAIN_S  # for running requests at the end


class HttpServer:
    """Serves connections until it is told to stop."""

    def __init__(self, app: App, chosen: Limits | None = None) -> None:
        self._app = app
        self._limits = chosen or Limits()
        self._idle: dict[Connection, trio.CancelScope] = {}  # without a request; the one idle longest comes first
        self._open: set[Connection] = set()
        self.is_stopping = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def serve(
        self, listeners: Sequence[trio.SocketListener], stop: trio.Event,
        *, task_status: Any = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; then take no more, and let running requests end within drain_s."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(
                    lambda task_status: trio.serve_listeners(
                        self.handle, list(listeners), handler_nursery=connections, task_status=task_status,
                    )
                )
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                await listener.aclose()
            self.is_stopping = True
            connections.cancel_scope.deadline = trio.current_time() + self._limits.drain_s
            for scope in list(self._idle.values()):
                scope.cancel()

    async def handle(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one connection to its end. Raises nothing but trio.Cancelled."""
        if len(self._open) >= self._limits.connections and not self._make_room():
            await trio.aclose_forcefully(stream)
            return
        connection = Connection(stream, self._app, self._limits.timing, self._wait_idle, lambda: self.is_stopping)
        self._open.add(connection)
        try:
            await connection.run()
        except Exception:  # the edge of the server: a fault of one connection ends no other
            log.exception("a connection failed")
        finally:
            self._open.discard(connection)

    async def _wait_idle(self, connection: Connection, wait: Callable[[], Awaitable[bytes]]) -> bytes:
        """Wait for a request's first bytes, as long as there is room. b"": there will be no more."""
        with trio.move_on_after(self._limits.timing.idle_s) as scope:
            if self.is_stopping:
                return b""
            self._idle[connection] = scope
            try:
                return await wait()
            finally:
                self._idle.pop(connection, None)
        return b""

    def _make_room(self) -> bool:
        """End the connection that has been idle longest, if there is one."""
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        self._idle.pop(oldest).cancel()
        self._open.discard(oldest)
        return True
