"""init, status, peers, verification, block, inference: files and the control socket only. Law: no libp2p, no trio, no torch."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from p2p.errors import ConfigError

DEFAULT_DIR = Path.home() / ".folkmoot"


def register(commands: Any) -> None:
    init = commands.add_parser("init", help="make keys and a configuration")
    init.add_argument("dir", type=Path)
    init.add_argument("--network", metavar="NAME", help="refuse a genesis file of another network (left out: it says which one)")
    init.add_argument("--genesis", type=Path, help="the network's genesis file")
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
            command.add_argument(argument, type=int if argument == "height" else str)
        command.add_argument("--dir", type=Path, default=DEFAULT_DIR)
        command.set_defaults(run=run_query, op=name, argument=argument)


def run_init(options: argparse.Namespace) -> int:
    """Keys are never overwritten."""
    from p2p.config import DEFAULT_LISTEN, dump_config, make_config
    from p2p.keys import Key

    directory: Path = options.dir
    table: dict[str, Any] = {"listen": options.listen or list(DEFAULT_LISTEN)}
    if options.network is not None:
        table["network"] = options.network
    make_config(directory, table)
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("node.key", "account.key"):
        if (directory / name).exists():
            raise ConfigError(f"{directory / name} exists; keys are never overwritten", field="dir")
    if options.genesis is not None:
        if not options.genesis.exists():
            raise ConfigError(f"{options.genesis} does not exist", field="genesis")
        shutil.copy(options.genesis, directory / "genesis.cbor")
    node, account = Key.generate(), Key.generate()
    node.save(directory / "node.key")
    account.save(directory / "account.key")
    (directory / "config.toml").write_text(dump_config(table))
    made = {"dir": str(directory), "peer_id": node.peer_id, "node": node.public.hex(), "account": account.public.hex()}
    print(json.dumps(made) if options.json else "\n".join(f"{key:8} {value}" for key, value in made.items()))
    return 0


def run_query(options: argparse.Namespace) -> int:
    from p2p.control import call

    request: dict[str, Any] = {"op": options.op}
    if options.argument:
        request[options.argument] = getattr(options, options.argument)
    answer = call(options.dir, request)
    print(json.dumps(answer) if options.json else readable(answer))
    return 0


def readable(answer: dict[str, Any]) -> str:
    """Aligned lines; lists one item a line."""
    lines = []
    for key, value in answer.items():
        if isinstance(value, list):
            lines.append(f"{key}:" + ("" if value else " none"))
            lines += [f"  {json.dumps(item) if isinstance(item, dict) else item}" for item in value]
        else:
            lines.append(f"{key:16} {json.dumps(value) if isinstance(value, dict) else value}")
    return "\n".join(lines)
