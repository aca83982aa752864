"""ask: put a question to any peer and stream the answer. Law: the receipt is checked here before it is printed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from p2p.config import DEFAULT_MODEL
from p2p.errors import ConfigError


def register(commands: Any) -> None:
    ask = commands.add_parser("ask", help="ask a peer; prints the answer and the receipt")
    ask.add_argument("prompt")
    ask.add_argument("--peer", required=True, metavar="MULTIADDR")
    ask.add_argument("--dir", type=Path, default=Path.home() / ".folkmoot", help="where account.key and genesis.cbor are")
    ask.add_argument("--model", default=DEFAULT_MODEL)
    ask.add_argument("--max-tokens", type=int, default=128)
    ask.add_argument("--temperature", type=float, default=0.1)
    ask.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.codec import unpack
    from p2p.keys import Key
    from p2p.types import Genesis, Params

    genesis_file = options.dir / "genesis.cbor"
    if "/p2p/" not in options.peer:
        raise ConfigError("a multiaddr with /p2p/ID is wanted", field="peer")
    if not genesis_file.exists():
        raise ConfigError(f"{genesis_file} is missing: the receipt could not be checked", field="dir")
    if not 0 <= options.temperature <= 2:
        raise ConfigError("from 0 to 2", field="temperature")
    genesis = unpack(Genesis, genesis_file.read_bytes())
    key = Key.load(options.dir / "account.key")
    import trio

    from p2p.client import AskSpec, ask

    spec = AskSpec(
        options.peer, key, genesis.network, options.model, options.prompt, Params(round(options.temperature * 1000)),
        options.max_tokens, genesis=genesis,
    )

    async def go() -> dict[str, Any]:
        receipt: dict[str, Any] = {}
        async for event in ask(spec):
            if options.json:
                print(json.dumps(event), flush=True)
            elif event["event"] == "token":
                print(event["text"], end="", flush=True)
            if event["event"] == "done":
                receipt = event["receipt"]
        return receipt

    receipt = trio.run(go)
    if not options.json:
        print("\n\nreceipt\n" + "\n".join(f"  {key:14} {value}" for key, value in receipt.items()))
    return 0 if receipt.get("checked") else 3
