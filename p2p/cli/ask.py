"""ask: put a question to any peer and stream the answer. Law: what it may cost is shown before it is signed, where the proof goes is tried
before it is paid for, and the receipt is checked here before it is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.base.limits import MAX_OUTPUT_TOKENS, MAX_TOP_K
from p2p.cli.words import MAX_AMOUNT, default_dir, multiaddr, peer_of, public_key, text_argument, thousandths, whole
from p2p.machine.foreign_text import Guarded
from p2p.peer.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from p2p.base.types import Params
    from p2p.client.question import AskSpec, Terms


MAX_HEIGHT = 2**32 - 1  # what a peer takes as `since`
WHAT = {"EXPIRED": "expired", "INVALIDATED": "invalidated", "UNCONFIRMED": "left unconfirmed"}


def register(commands: Any) -> None:
    ask = commands.add_parser("ask", help="ask a peer; prints the answer and the receipt")
    ask.add_argument("prompt")
    ask.add_argument("--peer", required=True, metavar="MULTIADDR")
    ask.add_argument("--dir", type=Path, default=default_dir(), help="where account.key and genesis.cbor are")
    ask.add_argument("--model", default=DEFAULT_MODEL)
    ask.add_argument("--max-tokens", type=whole(1, MAX_OUTPUT_TOKENS), default=128, metavar="N")
    ask.add_argument(
        "--max-price", type=whole(1, MAX_AMOUNT), metavar="MICRO",
        help="the most micro-credits a token may cost; left out: twice what it cost when that was last proved",
    )
    milli = {"temperature": (0, 2, 100), "top-p": (0, 1, 1000), "min-p": (0, 1, 0), "presence-penalty": (-2, 2, 0), "frequency-penalty": (-2, 2, 0)}
    for name, (low, high, default) in milli.items():
        ask.add_argument(
            f"--{name}", type=thousandths(low, high), default=default, metavar="X",
            help=f"from {low} to {high}, three places; {default / 1000:g} when left out" + ("; below 1 only with --top-k" * (name == "top-p")),
        )
    ask.add_argument("--top-k", type=whole(0, 1 << 20), default=0, metavar="N", help="0: the whole vocabulary")
    ask.add_argument("--save", type=Path, metavar="FILE", help="write the answer's proof, for: folkmoot verify FILE")
    ask.add_argument("--account", metavar="HEX", help="who pays, where account.key is a hot key of that account")
    ask.add_argument("--raw", action="store_true", help="print the answer as it is, control characters included")
    ask.set_defaults(run=run)


def sampling(options: argparse.Namespace) -> Params:
    """The sampling parameters. Raises ConfigError where they do not fit together."""
    from p2p.base.sampling_params import make_params

    if options.top_p < 1000 and not 1 <= options.top_k <= MAX_TOP_K:
        raise ConfigError(f"below 1 only together with --top-k from 1 to {MAX_TOP_K}", field="top_p")
    return make_params(
        temperature_milli=options.temperature, top_k=options.top_k, min_p_milli=options.min_p, top_p_milli=options.top_p,
        presence_milli=options.presence_penalty, frequency_milli=options.frequency_penalty,
    )


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import run_async

    spec = _spec(options)
    receipt = run_async(_follow, options, spec)
    if not options.json:
        print("\n\nreceipt\n" + "\n".join(f"  {key:14} {value}" for key, value in receipt.items()))
        if over := len(receipt.get("passed_over", ())):
            print(f"{over} drawn before this executor did not answer, its agent says; where that happens often, ask another agent")
    return 0 if receipt.get("checked") else 3


def _spec(options: argparse.Namespace) -> AskSpec:
    """All that can be wrong here is found here, before a peer hears of it."""
    from p2p.base.files import check_output
    from p2p.base.genesis import load_genesis
    from p2p.base.keys import Key

    multiaddr(options.peer)
    text_argument(options.prompt, "prompt")
    text_argument(options.model, "model")
    params = sampling(options)
    account = None if options.account is None else public_key(options.account, "account")  # an empty one is wrong, not one's own
    genesis_file = options.dir / "genesis.cbor"
    if not genesis_file.exists():
        raise ConfigError(f"{genesis_file} is missing: the receipt could not be checked", field="dir")
    genesis, key = load_genesis(genesis_file), Key.load(options.dir / "account.key")
    peer_of(options.peer)
    if options.save is not None:
        check_output(options.save, field="save")

    from p2p.client.answer_proof import AnswerProof, save_proof
    from p2p.client.known_prices import KnownPrices
    from p2p.client.nonces import Nonces
    from p2p.client.question import AskSpec

    def keep(proof: AnswerProof) -> None:
        if options.save is not None:
            save_proof(proof, options.save)

    seen = options.dir / "account.notices"  # the height of the last notice that was printed

    def tell(notices: list[dict[str, Any]]) -> None:
        show_notices(notices, seen, as_json=options.json)

    return AskSpec(
        options.peer, key, genesis.network, options.model, options.prompt, params, options.max_tokens, options.max_price,
        nonces=Nonces(options.dir / "nonces"), genesis=genesis, on_proof=keep, account=account, notices_since=last_notice(seen),
        on_notices=tell, on_terms=lambda terms: show_terms(terms, as_json=options.json), known_prices=KnownPrices(options.dir / "prices"),
    )


async def _follow(options: argparse.Namespace, spec: AskSpec) -> dict[str, Any]:
    from p2p.client.ask import ask

    receipt: dict[str, Any] = {}
    async with aclosing(ask(spec)) as events:
        async for event in events:
            if options.json:
                print(json.dumps(event), flush=True)
            elif event["event"] == "token":
                show = sys.stdout.uncleaned if options.raw and isinstance(sys.stdout, Guarded) else sys.stdout.write
                show(event["text"])
                sys.stdout.flush()
            if event["event"] == "done":
                receipt = event["receipt"]
    return receipt


def show_terms(terms: Terms, *, as_json: bool) -> None:
    """On standard error, beside the answer: what is about to be signed."""
    if as_json:
        from dataclasses import asdict

        print(json.dumps({"event": "terms", **asdict(terms), "most_micro": terms.most_micro}), file=sys.stderr, flush=True)
        return
    print(
        f"a token costs {terms.price_micro} micro-credits now, {terms.max_price_micro} at most; for up to {terms.tokens} of prompt and answer "
        f"{terms.most_micro} at most", file=sys.stderr, flush=True,
    )


def last_notice(seen: Path) -> int:
    """The height in the file, 0 where there is none, or none that a chain can have."""
    try:
        height = int(seen.read_text())
        return height if 0 <= height <= MAX_HEIGHT else 0
    except (OSError, ValueError):
        return 0


def show_notices(notices: list[dict[str, Any]], seen: Path, *, as_json: bool) -> None:
    """Print what became of earlier inferences, once: the newest height is written to `seen`. Raises RemoteProtocolError for another shape."""
    from msgspec import to_builtins

    from p2p.wire.answers.accounts import Notice
    from p2p.wire.answers.reading import read

    rows = [to_builtins(read(Notice, notice, "tip", "asked")) for notice in notices]
    for row in rows:
        if as_json:
            print(json.dumps({"event": "notice", **row}), flush=True)
        else:
            what = WHAT.get(row["what"], row["what"])
            print(f"inference {row['inference_id']} was {what} at height {row['height']}; {row['amount_micro']} micro-credits were refunded")
    with contextlib.suppress(OSError):  # a read-only folder: they are printed again
        seen.write_text(f"{max(row['height'] for row in rows)}\n")
