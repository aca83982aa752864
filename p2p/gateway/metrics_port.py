"""A port of its own for metrics.

Law: it answers GET /metrics and nothing else. What it says is the owner's, so it is on this machine alone unless the
owner names another address.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from p2p.gateway.exchange import send_bytes
from p2p.gateway.http.asgi import App, Receive, Scope, Send
from p2p.gateway.http.server import HttpServer
from p2p.gateway.serving import host_and_port, open_port
from p2p.metrics.registry import CONTENT_TYPE, Registry

LOOPBACK = "127.0.0.1"


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, or PORT on this machine alone. Raises ConfigError(field='listen')."""
    return host_and_port(f"{LOOPBACK}:{text}" if text.isascii() and text.isdigit() else text)


def metrics_app(registry: Registry) -> App:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/metrics" or scope["method"] not in ("GET", "HEAD"):
            await send_bytes(send, b"ask for GET /metrics\n", b"text/plain", 404)
            return
        await send_bytes(send, registry.text(), CONTENT_TYPE.encode())

    return answer


async def listen(text: str) -> Sequence[trio.SocketListener]:
    """Raises ConfigError(field='listen')."""
    return await open_port(*address_of(text))


async def serve_metrics(registry: Registry, listeners: Sequence[trio.SocketListener]) -> None:
    """Until cancelled."""
    await HttpServer(metrics_app(registry)).serve(listeners, trio.Event())
