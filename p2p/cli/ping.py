"""ping: looks at one peer step by step, from its address to its chain; says what a failure means.

Law: thin; the steps are in p2p/joining/ping.py. The exit status is 1 where a step failed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.base.files import exists
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.joining.ping import Step

LISTEN = ("/ip4/0.0.0.0/tcp/0",)  # for the dial back
_MAX_TEXT = 600


def register(commands: Any) -> None:
    command = commands.add_parser("ping")
    command.add_argument("address", metavar="MULTIADDR", help="the peer's address, with /p2p/ID")
    command.add_argument(
        "--dir", type=Path, help="a peer's or client's folder: the network must be the one of its genesis file",
    )
    command.add_argument(
        "--genesis-hash", metavar="HASH", help="the network's id NAME@HASH, or its hash: the network must be this one",
    )
    command.add_argument(
        "--listen", action="append", default=[], metavar="MULTIADDR",
        help="where this side waits to be dialled back (default: any free port)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import Logging, run_async
    from p2p.joining.identity import Identity
    from p2p.joining.ping import FAILED, Ping, summary
    from p2p.joining.target import read_identity

    wanted = read_identity(options.genesis_hash)
    if options.dir is not None:
        from p2p.base.genesis import load_genesis

        file = options.dir / "genesis.cbor"
        if not exists(file):
            raise ConfigError(f"{file} is missing: give the folder of a peer or client", field="dir")
        wanted = Identity(load_genesis(file).network).joined(wanted)
    def tell(step: Step) -> None:
        if not options.json:
            print(_shown(step), flush=True)

    ping = Ping(options.address, wanted, tuple(options.listen) or LISTEN, tell)
    steps = run_async(ping.run, log=Logging(level="error"))  # each step says what failed
    if options.json:
        print(json.dumps(summary(steps)))
    return int(any(step.state == FAILED for step in steps))


def _shown(step: Step) -> str:
    took = f"{step.ms:8.1f} ms" if step.ms else " " * 11
    text = f"{step.state:8}{step.name:11}{took}  {line(step.text, _MAX_TEXT)}"
    return f"{text}\n{'':32}-> {step.fix}" if step.fix else text
