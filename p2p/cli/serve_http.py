"""serve --http: a peer answers HTTP too, with its owner's account.

Law: it is the gateway of `folkmoot gateway` with its pages, over a connection to this very peer; a fault in it never
ends the peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p.base.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from p2p.gateway.keys import Keys
    from p2p.peer.node import Node

LOOK_S = 0.5  # between two looks at whether the peer listens and knows others


def http_task(
    listen: str, key_file: Path | None, say: Callable[[str], None]
) -> Callable[[Node], Awaitable[None]]:
    """What run_node's `load` takes. listen: HOST:PORT. Raises ConfigError where others could spend the owner's
    credits."""
    from p2p.gateway.keys import Keys, load_keys
    from p2p.gateway.serving import check_reach, host_and_port

    host, port = host_and_port(listen)
    keys = Keys(own_names=[host]) if key_file is None else load_keys(key_file)
    check_reach(host, keys)

    async def run(node: Node) -> None:
        await node.tasks.keep("http", partial(_serve_apart, node, host, port, keys, say))

    return run


async def _serve_apart(node: Node, host: str, port: int, keys: Keys, say: Callable[[str], None]) -> None:
    """As _serve. A store that fails ends a peer (node.py); what the gateway keeps is none of that."""
    try:
        await _serve(node, host, port, keys, say)
    except* StorageError as failed:
        raise Unavailable(f"the gateway cannot keep its files: {failed.exceptions[0]}", field="http") from failed


async def _serve(node: Node, host: str, port: int, keys: Keys, say: Callable[[str], None]) -> None:
    from p2p.client.client import Client
    from p2p.explorer.app import Beside
    from p2p.explorer.serving import open_explorer
    from p2p.explorer.source import LinksSource
    from p2p.gateway.client_backend import ClientBackend
    from p2p.gateway.serving import open_port, serve

    while not (network := node.network) or not network.addresses() or not network.connected():
        await trio.sleep(LOOK_S)
    listeners = await open_port(host, port)
    own = network.addresses()[0]
    async with Client.open(node.config.directory, genesis=node.chain.genesis, peers=[own]) as client:
        say(f"http://{host}:{listeners[0].socket.getsockname()[1]}")
        backend = ClientBackend(client)
        source = LinksSource(client.links, network.peer_id)
        async with open_explorer(source, timing=backend.times.rows, chat=True) as pages, trio.open_nursery() as nursery:
            nursery.start_soon(backend.keep_fresh)
            beside = partial(Beside, pages)
            await serve(backend, listeners, keys, trio.Event(), registry=node.metrics, beside=beside)
            nursery.cancel_scope.cancel()
