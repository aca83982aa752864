"""serve --metrics: the peer's metrics on a port of their own. Law: a fault in it never ends the peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2p.peer.node import Node


def metrics_task(listen: str, say: Callable[[str], None]) -> Callable[[Node], Awaitable[None]]:
    """What run_node's `load` takes. listen: HOST:PORT, or PORT. Raises ConfigError."""
    from p2p.gateway.metrics_port import address_of

    address_of(listen)

    async def run(node: Node) -> None:
        await node.tasks.keep("metrics", lambda: _serve(node, listen, say))

    return run


async def _serve(node: Node, listen: str, say: Callable[[str], None]) -> None:
    from p2p.gateway import metrics_port

    listeners = await metrics_port.listen(listen)
    host, port = listeners[0].socket.getsockname()[:2]
    say(f"http://{host}:{port}/metrics")
    await metrics_port.serve_metrics(node.metrics, listeners)
