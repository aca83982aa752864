"""init; status, peers, verification, sprint, block, inference: files and the control socket only.

Law: imports neither libp2p nor trio nor torch, so these commands start at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.cli import account_file
from p2p.cli.arguments import MAX_HEIGHT, default_dir, whole
from p2p.cli.output import aligned, readable, show

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis

QUERIES: dict[str, dict[str, Any]] = {  # what is asked, and its argument
    "status": {}, "peers": {}, "verification": {}, "sprint": {},
    "block": {
        "dest": "height", "type": whole(1, MAX_HEIGHT), "metavar": "HEIGHT", "help": "the block's height, from 1",
    },
    "inference": {
        "dest": "id", "metavar": "ID", "help": "the inference's id, 64 hexadecimal digits, as `folkmoot ask` prints it",
    },
}


def register(commands: Any) -> None:
    init = commands.add_parser("init")
    init.add_argument("dir", type=Path, metavar="DIR", help="the folder to make; files in it are never overwritten")
    init.add_argument("--network", metavar="NAME", help="the network's name (default: the genesis file's)")
    init.add_argument("--genesis", type=Path, metavar="FILE", help="the network's genesis file, to be copied into DIR")
    init.add_argument(
        "--network-file", type=Path, metavar="TOML",
        help="how to join a network, as its founders publish it (bootstrap/networks/example.toml shows the form)",
    )
    init.add_argument(
        "--listen", action="append", default=[], metavar="MULTIADDR",
        help="where the peer listens; may be repeated (default: all interfaces)",
    )
    account_file.add_options(init)
    init.set_defaults(run=run_init)
    for name, argument in QUERIES.items():
        command = commands.add_parser(name)
        if argument:
            command.add_argument(**argument)
        command.add_argument(
            "--dir", type=Path, default=default_dir(),
            help="the folder of the peer that is asked (default: %(default)s)",
        )
        command.set_defaults(run=run_query, op=name, argument=argument.get("dest"))


def run_init(options: argparse.Namespace) -> int:
    """Make the folder. Raises ConfigError where a file exists already: nothing is overwritten."""
    from p2p.base.codec import encode
    from p2p.base.files import check_own, make_folder, write_file
    from p2p.base.keys import Key
    from p2p.base.toml_file import dump_toml
    from p2p.peer.config import DEFAULT_LISTEN, make_config

    directory: Path = options.dir
    network, bootstrap, genesis = _network(options)
    table: dict[str, Any] = {"listen": options.listen or list(DEFAULT_LISTEN)}
    table |= {"network": network} if network else {}  # where it is left out, the genesis file says it
    table |= {"bootstrap": list(bootstrap)} if bootstrap else {}
    make_config(directory, table)
    check_own(directory)
    make_folder(directory)
    for name in ("node.key", "account.key", "config.toml", *(["genesis.cbor"] if genesis else [])):
        if (directory / name).exists():
            raise ConfigError(
                f"{directory / name} exists, and keys and settings are never overwritten; give another folder",
                field="dir",
            )
    if genesis is not None:
        write_file(directory / "genesis.cbor", encode(genesis), field="dir")
    node = Key.generate()
    made = {"dir": str(directory), "peer_id": node.peer_id, "node": node.public.hex()}
    if not options.account_elsewhere:
        made |= _make_account(directory, unlocked=options.unlocked)
    write_file(directory / "config.toml", dump_toml(table).encode(), field="dir")
    node.save(directory / "node.key")
    show(options, made, lambda: aligned(made, 8))
    return 0


def _make_account(directory: Path, *, unlocked: bool) -> dict[str, str]:
    """account.key, locked where a passphrase is given or a terminal can be asked for one. Raises ConfigError."""
    from p2p.base.keys import Key

    account, file = Key.generate(), directory / "account.key"
    words = account_file.new_passphrase(file, unlocked=unlocked)
    account.save(file, words)
    said = account_file.lock_in_words(file, locked=words is not None)
    return {"account": account.public.hex(), "locked": said}


def _network(options: argparse.Namespace) -> tuple[str | None, tuple[str, ...], Genesis | None]:
    """(name, bootstrap addresses, genesis) of the network, as far as they are given.

    Raises ConfigError where something is given twice and differs.
    """
    from p2p.base.genesis import load_genesis
    from p2p.client.network_file import load_network

    name: str | None = options.network
    bootstrap: tuple[str, ...] = ()
    genesis: Genesis | None = None
    if options.network_file is not None:
        found = load_network(options.network_file)
        bootstrap, genesis = found.bootstrap, found.genesis(options.genesis)
    elif options.genesis is not None:
        genesis = load_genesis(options.genesis)
    if genesis is not None and name not in (None, genesis.name, genesis.network):
        what = f"the genesis file is for the network {genesis.name!r}"
        raise ConfigError(f"{what}; leave --network out", field="network")
    return name or (genesis.name if genesis else None), bootstrap, genesis


def run_query(options: argparse.Namespace) -> int:
    from p2p.peer.control import call

    request: dict[str, Any] = {"op": options.op}
    if options.argument:
        request[options.argument] = getattr(options, options.argument)
    answer = call(options.dir, request)
    show(options, answer, lambda: readable(answer))
    return 0
