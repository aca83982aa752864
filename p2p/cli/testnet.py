"""testnet up | down | demo: a network on this machine. Law: the work is in the package testnet; here are only arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from p2p.errors import ConfigError


def register(commands: Any) -> None:
    command = commands.add_parser("testnet", help="a local test network")
    command.add_argument("action", choices=("up", "down", "demo"))
    command.add_argument("--peers", type=int, default=4)
    command.add_argument("--ml-nodes", type=int, default=None, help="vLLM servers, shared by the peers in turn")
    command.add_argument("--dir", type=Path, default=Path(".testnet"))
    command.add_argument("--prompt", default="What is the capital of France?")
    command.add_argument("--cheat", choices=("int4", "smaller-model", "wrong-prompt"))
    command.add_argument("--keep", action="store_true", help="leave the network up")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not 1 <= options.peers <= 64:
        raise ConfigError("from 1 to 64", field="peers")
    directory = options.dir.resolve()
    if options.action == "down":
        from testnet.providers import stop

        stopped = stop(directory)
        print("stopped: " + (", ".join(stopped) or "nothing was running"))
        return 0
    if options.action == "up":
        from testnet.up import bring_up

        network = bring_up(directory, options.peers, options.ml_nodes or 0, options.cheat, print)
        print(f"bootstrap {network.bootstrap}")
        return 0
    from testnet.demo import demo

    return demo(directory, options.peers, options.prompt, options.cheat, keep=options.keep)
