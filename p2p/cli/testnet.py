"""testnet: up, down, demo: a network on this machine.

Law: the work is in the package testnet; here are only arguments.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.arguments import whole


def register(commands: Any) -> None:
    command = commands.add_parser("testnet", help="start and stop a local test network, or show it at work")
    command.add_argument(
        "action", choices=("up", "down", "demo"), help="start a network, stop it, or start one and ask it a question",
    )
    command.add_argument(
        "--peers", type=whole(1, 64), default=4, metavar="N", help="honest peers (default: %(default)s)",
    )
    command.add_argument(
        "--ml-nodes", type=whole(0, 64), metavar="N",
        help="vLLM servers of `up`, which the peers use in turn (default: 0, no model is served)",
    )
    command.add_argument(
        "--dir", type=Path, default=Path(".testnet"), help="the network's folder (default: %(default)s)",
    )
    command.add_argument(
        "--prompt", default="What is the capital of France?", help="the question of `demo` (default: %(default)s)",
    )
    command.add_argument(
        "--cheat", action="append", default=[], metavar="NAME|PEER=NAME",
        help="an attack of `folkmoot attack --list`, run by one more peer, or by peer PEER (from 1); may be repeated "
        "for `up`",
    )
    command.add_argument(
        "--sprint", action="store_true", help="with `up`: weights come from a sprint at the beginning of each epoch",
    )
    command.add_argument("--keep", action="store_true", help="with `demo`: leave the network up")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    if options.action == "down":
        from testnet.processes import stop

        stopped = stop(directory)
        print("stopped: " + (", ".join(stopped) or "nothing was running"))
        return 0
    if options.action == "up":
        from testnet.up import bring_up

        peers, cheats = _cheats(options)
        network = bring_up(directory, peers, options.ml_nodes or 0, cheats, print, sprint=options.sprint)
        print(f"bootstrap {network.bootstrap}")
        return 0
    from testnet.demo import demo

    if len(options.cheat) > 1 or any("=" in text for text in options.cheat):
        raise ConfigError("give one attack by its name: the demo has one cheat", field="cheat")
    _, cheats = _cheats(options)
    return demo(directory, options.peers, options.prompt, next(iter(cheats.values()), None), keep=options.keep)


def _cheats(options: argparse.Namespace) -> tuple[int, dict[int, str]]:
    """(how many peers in all, number of a peer from 0 -> its attack). Raises ConfigError."""
    from p2p.lab import attacks

    peers, cheats = options.peers, {}
    for text in options.cheat:
        peer, _, name = text.rpartition("=")
        if not peer:
            peers += 1
            peer = str(peers)
        if not peer.isdigit() or not 1 <= int(peer) <= peers:
            raise ConfigError(f"give PEER as a number from 1 to {peers}, not {text!r}", field="cheat")
        cheats[int(peer) - 1] = attacks.get(name).name
    return peers, cheats
