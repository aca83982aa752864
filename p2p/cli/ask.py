"""ask: puts a question to any peer and streams the answer.

Law: what the answer may cost is shown before it is signed, the file for the proof is tried before anything is paid for,
and the receipt is checked here before it is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, RemoteProtocolError
from p2p.base.serving_limits import MAX_OUTPUT_TOKENS, MAX_TOP_K
from p2p.cli.arguments import (
    MAX_AMOUNT,
    MAX_HEIGHT,
    default_dir,
    multiaddr,
    peer_of,
    read_genesis,
    read_id,
    thousandths,
    utf8,
    whole,
)
from p2p.cli.output import aligned
from p2p.machine.foreign_text import Guarded, line
from p2p.peer.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from p2p.base.types import Params
    from p2p.client.events import Event, TermsShown
    from p2p.client.question import Endpoint, Payer, Question
    from p2p.client.receipt import Receipt
    from p2p.wire.answers.accounts import Notice

UNCHECKED = 3  # exit status where the receipt does not hold
# an option of sampling: lowest and highest value, default in thousandths, what it does
SAMPLING = {
    "temperature": (0, 2, 100, "how freely tokens are sampled; 0 always takes the likeliest"),
    "top-p": (0, 1, 1000, "sample from the likeliest tokens of this mass; below 1 only with --top-k"),
    "min-p": (0, 1, 0, "only tokens at least so likely as a share of the likeliest one"),
    "presence-penalty": (-2, 2, 0, "taken from tokens that the answer has already"),
    "frequency-penalty": (-2, 2, 0, "taken from a token for each time that the answer has it"),
}
WHAT = {"EXPIRED": "expired", "INVALIDATED": "invalidated", "UNCONFIRMED": "left unconfirmed"}  # notices, for people


def register(commands: Any) -> None:
    ask = commands.add_parser("ask")
    ask.add_argument("prompt", metavar="PROMPT", help="the question")
    ask.add_argument("--peer", required=True, metavar="MULTIADDR", help="the peer that is asked; any one will do")
    ask.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the folder with account.key and genesis.cbor (default: %(default)s)",
    )
    ask.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="the model (default: %(default)s)")
    ask.add_argument(
        "--max-tokens", type=whole(1, MAX_OUTPUT_TOKENS), default=128, metavar="N",
        help="tokens of the answer at most (default: %(default)s)",
    )
    ask.add_argument(
        "--max-price", type=whole(1, MAX_AMOUNT), metavar="MICRO",
        help="micro-credits that a token may cost at most (default: twice what it cost when that was last proved)",
    )
    for name, (low, high, default, text) in SAMPLING.items():
        ask.add_argument(
            f"--{name}", type=thousandths(low, high), default=default, metavar="X",
            help=f"{text}; from {low} to {high}, three decimal places (default: {default / 1000:g})",
        )
    ask.add_argument(
        "--top-k", type=whole(0, 1 << 20), default=0, metavar="N",
        help="sample from the N likeliest tokens; 0: from all (default: %(default)s)",
    )
    ask.add_argument("--save", type=Path, metavar="FILE", help="write the answer's proof, for `folkmoot verify FILE`")
    ask.add_argument(
        "--account", metavar="HEX", help="the account that pays, where account.key in --dir is a hot key of it",
    )
    ask.add_argument("--raw", action="store_true", help="print the answer as it is, control characters included")
    ask.set_defaults(run=run)


def sampling(options: argparse.Namespace) -> Params:
    """The sampling parameters of the options. Raises ConfigError where they do not fit together."""
    from p2p.base.sampling_params import make_params

    if options.top_p < 1000 and not 1 <= options.top_k <= MAX_TOP_K:
        raise ConfigError(f"a value below 1 needs --top-k from 1 to {MAX_TOP_K}", field="top_p")
    return make_params(
        temperature_milli=options.temperature, top_k=options.top_k, min_p_milli=options.min_p,
        top_p_milli=options.top_p,
        presence_milli=options.presence_penalty, frequency_milli=options.frequency_penalty,
    )


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import run_async

    receipt: Receipt = run_async(_follow, options, *_asked(options))
    if not options.json:
        shown = aligned({f"  {name}": value for name, value in receipt.plain().items()}, 16)
        print(f"\n\nreceipt\n{shown}")
        if over := len(receipt.passed_over):
            print(
                f"{over} drawn before this executor did not answer, its agent says; where that happens often, ask "
                f"another agent"
            )
    return 0 if receipt.checked else UNCHECKED


def _asked(options: argparse.Namespace) -> tuple[Endpoint, Question, Payer]:
    """The request. What can be wrong in the options is found here, before a peer hears of it."""
    from p2p.base.files import check_output

    multiaddr(options.peer)
    utf8(options.prompt, "prompt")
    utf8(options.model, "model")
    params = sampling(options)
    # an empty --account is wrong; it does not mean one's own
    account = None if options.account is None else read_id(options.account, "account")
    genesis = read_genesis(options.dir, "to check the receipt")

    from p2p.base.body import check_body, one_message
    from p2p.client.question import Endpoint, Payer, Question

    payer = Payer.load(options.dir, hot_key_of=account, notices_since=last_notice(_seen(options)))
    peer_of(options.peer)
    if options.save is not None:
        check_output(options.save, field="save")
    body = one_message(options.prompt)
    check_body(body, "prompt")
    question = Question(options.model, body, params, options.max_tokens, options.max_price)
    return Endpoint(options.peer, genesis), question, payer


async def _follow(options: argparse.Namespace, to: Endpoint, question: Question, payer: Payer) -> Receipt:
    """Ask, print the answer as it comes. Returns the receipt."""
    from p2p.client.answer_proof import save_proof
    from p2p.client.ask import ask
    from p2p.client.events import Done, Proved

    async with aclosing(ask(to, question, payer)) as events:
        async for event in events:
            if isinstance(event, Proved) and options.save is not None:
                save_proof(event.proof, options.save)
            _show(options, event)
            if isinstance(event, Done):
                return event.receipt
    raise RemoteProtocolError("the answer ended without a receipt", field="receipt")


def _show(options: argparse.Namespace, event: Event) -> None:
    """Print one event. The answer goes to standard output, what is said about it to standard error."""
    from p2p.client.events import Notices, Proved, Signed, TermsShown, Token, Waiting, plain

    if isinstance(event, Notices):
        show_notices(event.notices, _seen(options), as_json=options.json)
    elif isinstance(event, TermsShown):
        show_terms(event, as_json=options.json)
    elif options.json:
        if not isinstance(event, Signed | Proved):
            print(json.dumps(plain(event)), flush=True)
    elif isinstance(event, Token):
        show = sys.stdout.uncleaned if options.raw and isinstance(sys.stdout, Guarded) else sys.stdout.write
        show(event.text)
        sys.stdout.flush()
    elif isinstance(event, Waiting):
        again = f"asking again in {event.wait_s:.1f} s"
        print(f"{line(event.reason, 300)}; {again}", file=sys.stderr, flush=True)


def show_terms(terms: TermsShown, *, as_json: bool) -> None:
    """Print what is about to be signed, on standard error: the answer goes to standard output."""
    if as_json:
        from p2p.client.events import plain

        print(json.dumps(plain(terms)), file=sys.stderr, flush=True)
        return
    print(
        f"a token costs {terms.price_micro} micro-credits now, {terms.max_price_micro} at most; for up to "
        f"{terms.tokens} of prompt and answer {terms.most_micro} at most", file=sys.stderr, flush=True,
    )


def _seen(options: argparse.Namespace) -> Path:
    """The file with the height of the last notice that was printed."""
    return Path(options.dir / "account.notices")


def last_notice(seen: Path) -> int:
    """The height of the last notice that was printed; 0 where the file is missing or holds no height of a chain."""
    try:
        height = int(seen.read_text())
        return height if 0 <= height <= MAX_HEIGHT else 0
    except (OSError, ValueError):
        return 0


def show_notices(notices: Sequence[Notice], seen: Path, *, as_json: bool) -> None:
    """Print what became of earlier inferences, once: the newest height is written to the file `seen`."""
    from msgspec import to_builtins

    for notice in notices:
        if as_json:
            print(json.dumps({"event": "notice", **to_builtins(notice)}), flush=True)
        else:
            what = WHAT.get(notice.what, notice.what)
            refund = f"{notice.amount_micro} micro-credits were refunded"
            print(f"inference {notice.inference_id} was {what} at height {notice.height}; {refund}")
    with contextlib.suppress(OSError):  # a read-only folder: they are printed again
        seen.write_text(f"{max(notice.height for notice in notices)}\n")
