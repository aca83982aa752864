"""lab-peer: runs one peer of a test network that behaves as its DIR/lab.toml says.

Law: the only command that starts a peer that cheats.
"""

from __future__ import annotations

import argparse
from typing import Any

from p2p.cli import serve


def register(commands: Any) -> None:
    command = commands.add_parser("lab-peer")
    serve.add_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.lab.roles import roles_of
    from p2p.lab.settings import load_settings

    return serve.run_peer(options, roles_of(load_settings(options.dir)))
