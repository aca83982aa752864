"""ask: put a question to any peer and stream the answer. Law: the receipt is checked here before it is printed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.cli.words import public_key
from p2p.config import DEFAULT_MODEL
from p2p.errors import ConfigError, RemoteProtocolError
from p2p.files import open_output

if TYPE_CHECKING:
    from p2p.types import Params


MAX_HEIGHT = 2**32 - 1  # what a peer takes as `since`


def register(commands: Any) -> None:
    ask = commands.add_parser("ask", help="ask a peer; prints the answer and the receipt")
    ask.add_argument("prompt")
    ask.add_argument("--peer", required=True, metavar="MULTIADDR")
    ask.add_argument("--dir", type=Path, default=Path.home() / ".folkmoot", help="where account.key and genesis.cbor are")
    ask.add_argument("--model", default=DEFAULT_MODEL)
    ask.add_argument("--max-tokens", type=int, default=128)
    ask.add_argument("--temperature", type=float, default=0.1)
    ask.add_argument("--top-k", type=int, default=0, help="0: the whole vocabulary")
    ask.add_argument("--top-p", type=float, default=1.0, help="below 1 only together with --top-k")
    ask.add_argument("--min-p", type=float, default=0.0)
    ask.add_argument("--presence-penalty", type=float, default=0.0)
    ask.add_argument("--frequency-penalty", type=float, default=0.0)
    ask.add_argument("--save", type=Path, metavar="FILE", help="write the answer's proof, for: folkmoot verify FILE")
    ask.add_argument("--account", metavar="HEX", help="who pays, where account.key is a hot key of that account")
    ask.set_defaults(run=run)


def sampling(options: argparse.Namespace) -> Params:
    """The sampling parameters in thousandths. Raises ConfigError naming the option that is out of range."""
    from p2p.limits import MAX_TOP_K
    from p2p.params import make_params

    bounds = {"temperature": (0, 2), "top_p": (0, 1), "min_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
    for name, (low, high) in bounds.items():
        if not low <= getattr(options, name) <= high:
            raise ConfigError(f"from {low} to {high}", field=name)
    if not 0 <= options.top_k <= 1 << 20:
        raise ConfigError("0 for the whole vocabulary, or a number of tokens", field="top_k")
    milli = {name: round(getattr(options, name) * 1000) for name in bounds}
    if milli["top_p"] < 1000 and not 1 <= options.top_k <= MAX_TOP_K:
        raise ConfigError(f"below 1 only together with --top-k from 1 to {MAX_TOP_K}", field="top_p")
    return make_params(
        temperature_milli=milli["temperature"], top_k=options.top_k, min_p_milli=milli["min_p"], top_p_milli=milli["top_p"],
        presence_milli=milli["presence_penalty"], frequency_milli=milli["frequency_penalty"],
    )


def run(options: argparse.Namespace) -> int:
    from p2p.genesis import load_genesis
    from p2p.keys import Key

    genesis_file = options.dir / "genesis.cbor"
    if "/p2p/" not in options.peer:
        raise ConfigError("a multiaddr with /p2p/ID is wanted", field="peer")
    params = sampling(options)
    if not genesis_file.exists():
        raise ConfigError(f"{genesis_file} is missing: the receipt could not be checked", field="dir")
    genesis = load_genesis(genesis_file)
    key = Key.load(options.dir / "account.key")

    from p2p.cli.tasks import run_async
    from p2p.client import AskSpec, ask
    from p2p.nonces import Nonces
    from p2p.proof import Proof, save_proof

    def keep(proof: Proof) -> None:
        if options.save is not None:
            save_proof(proof, options.save)

    seen = options.dir / "account.notices"  # the height of the last notice that was printed

    def tell(notices: list[dict[str, Any]]) -> None:
        show_notices(notices, seen, as_json=options.json)

    spec = AskSpec(
        options.peer, key, genesis.network, options.model, options.prompt, params,
        options.max_tokens, nonces=Nonces(options.dir / "nonces"), genesis=genesis, on_proof=keep,
        account=public_key(options.account, "account") if options.account else None, notices_since=last_notice(seen), on_notices=tell,
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

    receipt = run_async(go)
    if not options.json:
        print("\n\nreceipt\n" + "\n".join(f"  {key:14} {value}" for key, value in receipt.items()))
    return 0 if receipt.get("checked") else 3


def last_notice(seen: Path) -> int:
    """The height in the file, 0 where there is none, or none that a chain can have."""
    try:
        height = int(seen.read_text())
        return height if 0 <= height <= MAX_HEIGHT else 0
    except (OSError, ValueError):
        return 0


def show_notices(notices: list[dict[str, Any]], seen: Path, *, as_json: bool) -> None:
    """Print what became of earlier inferences, once: the newest height is written to `seen`. Raises RemoteProtocolError for another shape."""
    rows = [_notice(notice) for notice in notices]
    for row in rows:
        if as_json:
            print(json.dumps({"event": "notice", **row}), flush=True)
        else:
            what = {"EXPIRED": "expired", "INVALIDATED": "invalidated", "UNCONFIRMED": "left unconfirmed"}.get(row["what"], row["what"])
            print(f"inference {row['inference_id']} was {what} at height {row['height']}; {row['amount_micro']} micro-credits were refunded")
    with contextlib.suppress(OSError), os.fdopen(open_output(seen), "w") as file:  # a read-only folder: they are printed again
        file.write(f"{max(row['height'] for row in rows)}\n")


def _notice(notice: Any) -> dict[str, Any]:
    shape = {"inference_id": str, "what": str, "amount_micro": int, "height": int}
    if not isinstance(notice, dict) or any(not isinstance(notice.get(name), kind) for name, kind in shape.items()):
        raise RemoteProtocolError("the peer's notice is not one", field="notices")
    if not (notice["what"].isascii() and notice["what"].isalpha() and notice["inference_id"].isalnum()):
        raise RemoteProtocolError("the peer's notice is not one", field="notices")  # it is printed: no control characters
    if not 0 <= notice["height"] <= MAX_HEIGHT:  # it is remembered, and asked for next time
        raise RemoteProtocolError("the peer's notice is of no height", field="notices")
    return {name: notice[name] for name in shape}
