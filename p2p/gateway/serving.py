"""Serves a backend on addresses of this machine. Law: an address that others can reach is served with keys only."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence

import trio

from p2p.base.errors import ConfigError
from p2p.gateway.app import new_app
from p2p.gateway.core.backend import Backend
from p2p.gateway.http.asgi import App
from p2p.gateway.http.server import HttpServer
from p2p.gateway.keys import Keys
from p2p.metrics.registry import Registry


def host_and_port(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises ConfigError(field='listen')."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigError(f"give HOST:PORT, such as 127.0.0.1:8000, not {text[:60]!r}", field="listen")
    return host, int(port)


def check_reach(host: str, keys: Keys) -> None:
    """Raises ConfigError where others could spend this user's money."""
    if keys.are_needed or host == "localhost":
        return
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise ConfigError(
            f"whoever reaches {host} could spend your credits; give --api-key-file, or listen at 127.0.0.1",
            field="listen",
        )


async def open_port(host: str, port: int) -> list[trio.SocketListener]:
    """Listeners; port 0: any free one. Raises ConfigError(field='listen')."""
    try:
        return list(await trio.open_tcp_listeners(port, host=host))
    except OSError as error:
        raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror or error}", field="listen") from error


async def serve_app(app: App, listeners: Sequence[trio.SocketListener], stop: trio.Event) -> None:
    """Answer with another application, such as pages without a gateway."""
    await HttpServer(app).serve(listeners, stop)


async def serve(
    backend: Backend, listeners: Sequence[trio.SocketListener], keys: Keys, stop: trio.Event,
    origins: Collection[str] = (), registry: Registry | None = None, beside: Callable[[App], App] = lambda app: app,
) -> None:
    """Answer until `stop`, then finish what runs. registry: of the peer that the gateway is a part of. beside: puts
    other paths next to the gateway's, for p2p/explorer."""
    counted: list[HttpServer] = []
    app = new_app(backend, keys, origins, lambda: sum(server.connections for server in counted), registry)
    server = HttpServer(beside(app))
    counted.append(server)
    await server.serve(listeners, stop)
