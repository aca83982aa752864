"""explorer: pages about a network for people, served on this machine.

Law: it only shows what strangers may ask peers, so it needs no account, and may listen where others reach it.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from p2p.cli.arguments import add_network, multiaddr

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis

DEFAULT_LISTEN = "127.0.0.1:8080"


def register(commands: Any) -> None:
    explorer = commands.add_parser("explorer")
    add_network(
        explorer, "the folder with genesis.cbor, where known peers are kept", DEFAULT_LISTEN,
        "browsers",
    )
    explorer.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.cli.gateway import network_of
    from p2p.cli.tasks import Logging, run_async
    from p2p.gateway.serving import host_and_port

    host, port = host_and_port(options.listen)
    for peer in options.peer or ():
        multiaddr(peer)
    genesis, peers = network_of(options)
    run_async(_serve, options, genesis, peers, host, port, log=Logging())
    return 0


async def _serve(options: argparse.Namespace, genesis: Genesis, peers: list[str] | None, host: str, port: int) -> None:
    import trio

    from p2p.cli.gateway import port_of, wait_for_signal
    from p2p.client.links import open_links
    from p2p.client.settings import BOOK, addresses
    from p2p.explorer.app import Beside, nothing_else
    from p2p.explorer.serving import open_explorer
    from p2p.explorer.source import LinksSource
    from p2p.gateway.serving import open_port, serve_app

    known = addresses(options.dir, peers)
    listeners = await open_port(host, port)
    book = options.dir / BOOK if options.dir.is_dir() else None
    async with open_links(genesis, known, book) as links, open_explorer(LinksSource(links), chat=False) as pages:
        stop = trio.Event()
        _show(options, f"http://{options.listen.rpartition(':')[0]}:{port_of(listeners)}/explorer/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_signal, stop)
            await serve_app(Beside(pages, nothing_else), listeners, stop)
            nursery.cancel_scope.cancel()


def _show(options: argparse.Namespace, url: str) -> None:
    print(json.dumps({"event": "listening", "url": url}) if options.json else url, flush=True)
