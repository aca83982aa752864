"""init, status, peers, verification, block, inference: files and the control socket only. Law: no libp2p, no trio, no torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.cli.words import default_dir, whole
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis

DEFAULT_DIR = default_dir()


def register(commands: Any) -> None:
    init = commands.add_parser("init", help="make keys and a configuration")
    init.add_argument("dir", type=Path)
    init.add_argument("--network", help="the network's name (default: the genesis file's)")
    init.add_argument("--genesis", type=Path, help="the network's genesis file")
    init.add_argument("--network-file", type=Path, metavar="TOML", help="how to join it, as bootstrap/networks/example.toml says")
    init.add_argument("--listen", action="append", default=[])
    init.set_defaults(run=run_init)
    for name, argument, text in (
        ("status", None, "what the peer in --dir does"), ("peers", None, "who it is connected to"),
        ("verification", None, "how well the network checks, and everybody's standing in the epoch"),
        ("sprint", None, "the race of this epoch: who answered how much, what was checked, what everybody will weigh"),
        ("block", "height", "a block and its records"), ("inference", "id", "everything on chain about one inference"),
    ):
        command = commands.add_parser(name, help=text)
        if argument:
            command.add_argument(argument, type=whole(1, 2**32 - 1) if argument == "height" else str)
        command.add_argument("--dir", type=Path, default=DEFAULT_DIR)
        command.set_defaults(run=run_query, op=name, argument=argument)


def run_init(options: argparse.Namespace) -> int:
    """Nothing that exists is overwritten."""
    from p2p.base.codec import encode
    from p2p.base.files import check_own, make_folder, write_file
    from p2p.base.keys import Key
    from p2p.base.toml_file import dump_toml
    from p2p.peer.config import DEFAULT_LISTEN, make_config

    directory: Path = options.dir
    network, bootstrap, genesis = _network(options)
    table: dict[str, Any] = {"listen": options.listen or list(DEFAULT_LISTEN)}
    table |= {"network": network} if network else {}  # left out: the genesis file says it
    table |= {"bootstrap": list(bootstrap)} if bootstrap else {}
    make_config(directory, table)
    check_own(directory)
    make_folder(directory)
    for name in ("node.key", "account.key", "config.toml", *(["genesis.cbor"] if genesis else [])):
        if (directory / name).exists():
            raise ConfigError(f"{directory / name} exists; keys and settings are never overwritten; give another folder", field="dir")
    if genesis is not None:
        write_file(directory / "genesis.cbor", encode(genesis), field="dir")
    node, account = Key.generate(), Key.generate()
    write_file(directory / "config.toml", dump_toml(table).encode(), field="dir")
    node.save(directory / "node.key")
    account.save(directory / "account.key")
    made = {"dir": str(directory), "peer_id": node.peer_id, "node": node.public.hex(), "account": account.public.hex()}
    print(json.dumps(made) if options.json else "\n".join(f"{key:8} {value}" for key, value in made.items()))
    return 0


def _network(options: argparse.Namespace) -> tuple[str | None, tuple[str, ...], Genesis | None]:
    """Name, bootstrap addresses and genesis, as far as they are given; what is given twice must be the same."""
    from p2p.base.genesis import load_genesis
    from p2p.client.network_file import load_network

    name: str | None = options.network
    bootstrap: tuple[str, ...] = ()
    genesis: Genesis | None = None
    if options.network_file is not None:
        found = load_network(options.network_file)
        bootstrap, genesis = found.bootstrap, found.genesis(options.genesis)
        if name not in (None, found.network):
            raise ConfigError(f"{options.network_file} is of the network {found.network!r}; leave --network out", field="network")
        name = found.network
    elif options.genesis is not None:
        genesis = load_genesis(options.genesis)
    if genesis is not None and name not in (None, genesis.name):
        raise ConfigError(f"the genesis file is of the network {genesis.name!r}; leave --network out", field="network")
    return name or (genesis.name if genesis else None), bootstrap, genesis


def run_query(options: argparse.Namespace) -> int:
    from p2p.peer.control import call

    request: dict[str, Any] = {"op": options.op}
    if options.argument:
        request[options.argument] = getattr(options, options.argument)
    answer = call(options.dir, request)
    print(json.dumps(answer) if options.json else readable(answer))
    return 0


def _shown(value: Any) -> str:
    """On one line, whoever said it."""
    return json.dumps(value) if isinstance(value, dict | list) else line(str(value), 4000)


def readable(answer: dict[str, Any]) -> str:
    """Aligned lines; lists one item a line."""
    lines = []
    for key, value in answer.items():
        name = line(str(key), 60)
        if isinstance(value, list):
            lines.append(f"{name}:" + ("" if value else " none"))
            lines += [f"  {_shown(item)}" for item in value]
        elif isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
            lines.append(f"{name}:")
            for of, row in value.items():
                lines.append(f"  {line(str(of), 60):16} " + ", ".join(f"{line(k, 60).replace('_', ' ')} {_shown(v)}" for k, v in row.items()))
        else:
            lines.append(f"{name:16} {_shown(value)}")
    return "\n".join(lines)
