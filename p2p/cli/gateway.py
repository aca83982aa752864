"""gateway: answers programs on this machine over HTTP, in the APIs that they already speak.

Law: it never listens where others could spend the user's credits, unless keys are given. The account that pays, its
balance and how to fund it are shown first.
"""

from __future__ import annotations

import argparse
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.cli.arguments import add_network, multiaddr, read_genesis
from p2p.cli.output import aligned

if TYPE_CHECKING:
    import trio

    from p2p.base.genesis import Genesis
    from p2p.gateway.core.backend import AccountCard
    from p2p.gateway.keys import Keys

DEFAULT_LISTEN = "127.0.0.1:8000"


def register(commands: Any) -> None:
    gateway = commands.add_parser("gateway")
    add_network(
        gateway, "the folder with account.key and genesis.cbor; a key is made on first use", DEFAULT_LISTEN,
        "programs",
    )
    gateway.add_argument("--account", metavar="HEX", help="the account that pays, where account.key is a hot key of it")
    gateway.add_argument(
        "--api-key-file", type=Path, metavar="FILE",
        help="keys that programs must send, one a line; needed where others can reach --listen",
    )
    gateway.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN",
        help="an origin whose web pages may ask, such as http://localhost:3000 (default: none)",
    )
    gateway.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import Logging, run_async
    from p2p.gateway.keys import Keys, load_keys
    from p2p.gateway.serving import check_reach, host_and_port

    host, port = host_and_port(options.listen)
    keys = Keys(own_names=[host]) if options.api_key_file is None else load_keys(options.api_key_file)
    check_reach(host, keys)
    for peer in options.peer or ():
        multiaddr(peer)
    genesis, peers = network_of(options)
    _make_key(options.dir / "account.key")
    run_async(_serve, options, genesis, peers, keys, host, port, log=Logging(options.dir))
    return 0


def network_of(options: argparse.Namespace) -> tuple[Genesis, list[str] | None]:
    """(genesis, peers to begin with; None: those that the folder names)."""
    if options.network is None:
        return read_genesis(options.dir, "to check answers"), options.peer
    from p2p.client.network_file import load_network

    found = load_network(options.network)
    return found.genesis(None), [*(options.peer or ()), *found.bootstrap]


def _make_key(file: Path) -> None:
    """The account's key, made on first use."""
    from p2p.base.files import exists, make_folder
    from p2p.base.keys import Key

    if not exists(file):
        make_folder(file.parent)
        Key.generate().save(file)


async def _serve(
    options: argparse.Namespace, genesis: Genesis, peers: list[str] | None, keys: Keys, host: str, port: int,
) -> None:
    import trio

    from p2p.cli.arguments import read_id
    from p2p.client.client import Client
    from p2p.explorer.app import Beside
    from p2p.explorer.serving import open_explorer
    from p2p.explorer.source import LinksSource
    from p2p.gateway.client_backend import ClientBackend
    from p2p.gateway.serving import open_port, serve

    listeners = await open_port(host, port)
    account = None if options.account is None else read_id(options.account, "account")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client.open(options.dir, genesis=genesis, peers=peers, account=account)
        )
        backend, stop = ClientBackend(client), trio.Event()
        source = LinksSource(client.links)
        pages = await stack.enter_async_context(open_explorer(source, timing=backend.times.rows, chat=True))
        _show(options, await backend.account(), f"http://{options.listen.rpartition(':')[0]}:{port_of(listeners)}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_signal, stop)
            nursery.start_soon(backend.keep_fresh)
            await serve(backend, listeners, keys, stop, options.cors, beside=lambda app: Beside(pages, app))
            nursery.cancel_scope.cancel()


def port_of(listeners: list[trio.SocketListener]) -> int:
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def wait_for_signal(stop: trio.Event) -> None:
    """The first signal lets running answers end; a second one ends them."""
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()


def _show(options: argparse.Namespace, account: AccountCard, url: str) -> None:
    """Where to ask, and who pays."""
    if options.json:
        print(json.dumps({
            "event": "listening", "url": url, "account": account.account, "balance_micro": account.balance_micro,
        }), flush=True)
        return
    values = {"OpenAI API": f"{url}/v1", "Anthropic API": url, "account": account.account,
              "balance": f"{account.balance_micro} micro-credits",
              "chat page": f"{url}/chat/", "explorer": f"{url}/explorer/"}
    print(aligned(values, 14), flush=True)
    if account.balance_micro <= 0:
        print(
            "the account has no credits yet; send it some from another account:\n"
            f"  folkmoot account transfer {account.account} MICRO --peer MULTIADDR", flush=True,
        )
