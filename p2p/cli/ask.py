"""ask: puts a question to the network, or to one peer, and streams the answer.

Law: what the answer may cost is shown before it is signed, the file for the proof is tried before anything is paid for,
and the receipt is checked here before it is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.default_model import DEFAULT_MODEL
from p2p.base.errors import ConfigError, InvalidRequest, RemoteProtocolError
from p2p.base.serving_limits import MAX_BODY, MAX_OUTPUT_TOKENS, MAX_TOP_K
from p2p.cli.amounts import amount, money
from p2p.cli.arguments import (
    MAX_HEIGHT,
    default_dir,
    multiaddr,
    peer_of,
    read_id,
    thousandths,
    utf8,
    whole,
)
from p2p.cli.exit_codes import UNCHECKED as UNCHECKED
from p2p.cli.output import fields
from p2p.cli.terminal.styled import Line, Span, put
from p2p.machine.foreign_text import Guarded, line

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.base.types import Params
    from p2p.cli.conversation import Conversation
    from p2p.client.events import Event, TermsShown
    from p2p.client.question import Payer, Question
    from p2p.client.receipt import Receipt
    from p2p.wire.answers.accounts import Notice

# an option of sampling: lowest and highest value, default in thousandths, what it does
SAMPLING = {
    "temperature": (0, 2, 100, "how freely tokens are sampled; 0 always takes the likeliest"),
    "top-p": (0, 1, 1000, "sample from the likeliest tokens of this mass; below 1 only with --top-k"),
    "min-p": (0, 1, 0, "only tokens at least so likely as a share of the likeliest one"),
    "presence-penalty": (-2, 2, 0, "taken from tokens that the answer has already"),
    "frequency-penalty": (-2, 2, 0, "taken from a token for each time that the answer has it"),
}
WHAT = {"EXPIRED": "expired", "INVALIDATED": "invalidated", "UNCONFIRMED": "left unconfirmed"}  # notices, for people


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, and whom it goes to."""

    question: Question
    payer: Payer
    genesis: Genesis
    peer: str | None  # the one that is asked; None: any
    peers: tuple[str, ...]  # to begin with, where any is asked
    dir: Path  # of the account
    talk: Conversation | None  # that it belongs to
    kept: Path | None  # where that is kept


def register(commands: Any) -> None:
    ask = commands.add_parser("ask")
    ask.add_argument(
        "prompt", nargs="?", metavar="PROMPT",
        help="the question; what is piped in comes after it (left out: that alone is the question)",
    )
    add_options(ask)
    ask.add_argument("--save", type=Path, metavar="FILE", help="write the answer's proof, for `folkmoot verify FILE`")
    ask.add_argument(
        "--session", metavar="NAME",
        help="go on with the conversation NAME, kept in DIR/sessions: earlier questions are remembered",
    )
    ask.add_argument("--no-stdin", action="store_true", help="do not read standard input")
    ask.add_argument("--raw", action="store_true", help="print the answer as it is, control characters included")
    ask.set_defaults(run=run)


def add_options(ask: argparse.ArgumentParser) -> None:
    """Whom to ask, who pays, and how the answer is made: for `ask` and `chat`."""
    ask.add_argument(
        "--peer", metavar="MULTIADDR",
        help="the peer that is asked (default: the one that runs in --dir, else peers that its config.toml names)",
    )
    ask.add_argument(
        "--network", type=Path, metavar="FILE", help="a network's file, which names its genesis and its first peers",
    )
    ask.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the folder with account.key and genesis.cbor (default: %(default)s)",
    )
    ask.add_argument(
        "--model", metavar="NAME", help=f"the model (default: {DEFAULT_MODEL}, or the network's first)",
    )
    ask.add_argument(
        "--account", metavar="HEX", help="the account that pays, where account.key in --dir is a hot key of it",
    )
    ask.add_argument(
        "--max-tokens", type=whole(1, MAX_OUTPUT_TOKENS), default=128, metavar="N",
        help="tokens of the answer at most (default: %(default)s)",
    )
    ask.add_argument(
        "--max-price", type=amount(1), metavar="AMOUNT",
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

    asked = _asked(options)
    receipt, text = run_async(_follow, options, asked)
    if asked.talk is not None and asked.kept is not None:
        from p2p.cli import conversation

        asked.talk.said(options.prompt, text)
        conversation.save(asked.kept, asked.talk)
    if not options.json:
        put(sys.stdout, [(), (), (Span("receipt", "bold"),), *receipt_lines(receipt)])
    return 0 if receipt.checked else UNCHECKED


def receipt_lines(receipt: Receipt) -> list[Line]:
    """The receipt for people."""
    lines = fields({f"  {name}": value for name, value in receipt.plain().items()}, 16)
    if over := len(receipt.passed_over):
        what = f"{over} drawn before this executor did not answer, its agent says"
        lines.append((f"{what}; where that happens often, ask another agent",))
    return lines


def _asked(options: argparse.Namespace) -> Asked:
    """The request. What can be wrong in the options is found here, before a peer hears of it."""
    from p2p.base.files import check_output

    if options.peer is not None:
        multiaddr(options.peer)
    options.prompt = _prompt(options)
    params = sampling(options)
    # an empty --account is wrong; it does not mean one's own
    account = None if options.account is None else read_id(options.account, "account")
    from p2p.cli.finding import peers_for

    genesis, peers = peers_for(options.dir, options.peer, options.network, "to check the receipt")

    from p2p.base.body import check_body, one_message
    from p2p.client.question import Payer, Question

    payer = Payer.load(options.dir, hot_key_of=account, notices_since=last_notice(_seen(options)))
    if options.peer is not None:
        peer_of(options.peer)
    if options.save is not None:
        check_output(options.save, field="save")
    model, talk, kept = model_of(options.model, genesis), None, None
    if options.session is not None:
        from p2p.cli import conversation

        kept = conversation.file_of(options.dir, options.session)
        talk = conversation.load(kept, options.model, model)
        model = talk.model
    body = one_message(options.prompt) if talk is None else talk.body(options.prompt)
    check_body(body, "prompt")
    session = talk.session if talk is not None else None
    question = Question(model, body, params, options.max_tokens, options.max_price, session)
    return Asked(question, payer, genesis, options.peer, peers, options.dir, talk, kept)


def _prompt(options: argparse.Namespace) -> str:
    """The question: PROMPT, then what is piped in."""
    from p2p.cli.standard_input import piped

    given = None if options.prompt is None else utf8(options.prompt, "prompt")
    more = "" if options.no_stdin else piped(MAX_BODY, "prompt")
    if given is None and not more.strip():
        raise InvalidRequest('give a question: folkmoot ask "..."; or pipe one in', field="prompt")
    return "\n\n".join(part for part in (given, more) if part)


def model_of(name: str | None, genesis: Genesis) -> str:
    """The model that is asked: as the user says, else the usual one, or the network's first."""
    if name is not None:
        return utf8(name, "model")
    known = [spec.model for spec in genesis.models]
    return known[0] if known and DEFAULT_MODEL not in known else DEFAULT_MODEL


async def _follow(options: argparse.Namespace, asked: Asked) -> tuple[Receipt, str]:
    """Ask, print the answer as it comes. Returns the receipt, and the answer."""
    from p2p.client.answer_proof import save_proof
    from p2p.client.events import Done, Proved

    async with AsyncExitStack() as stack:
        async for event in await _events(asked, stack):
            if isinstance(event, Proved) and options.save is not None:
                save_proof(event.proof, options.save)
            _show(options, event)
            if isinstance(event, Done):
                return event.receipt, event.text
    raise RemoteProtocolError("the answer ended without a receipt", field="receipt")


async def _events(asked: Asked, stack: AsyncExitStack) -> AsyncIterator[Event]:
    """Of the named peer, or of a client that finds one, and goes on at another one where that dies."""
    if asked.peer is not None:
        from p2p.client.ask import ask
        from p2p.client.question import Endpoint

        to = Endpoint(asked.peer, asked.genesis)
        return await stack.enter_async_context(aclosing(ask(to, asked.question, asked.payer)))
    from dataclasses import replace

    from p2p.client.client import Client

    opened = Client.open(
        asked.dir, genesis=asked.genesis, peers=asked.peers, account=asked.payer.hot_key_of,
    )
    client = await stack.enter_async_context(opened)
    client.payer = replace(client.payer, notices_since=asked.payer.notices_since)
    return await stack.enter_async_context(client.answer(asked.question))


def _show(options: argparse.Namespace, event: Event) -> None:
    """Print one event. The answer goes to standard output, what is said about it to standard error."""
    from p2p.client.events import Notices, PeerFailed, Proved, Resumed, Signed, TermsShown, Token, Waiting, plain

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
    elif isinstance(event, PeerFailed):
        print(f"{line(event.reason, 300)}; another peer is asked", file=sys.stderr, flush=True)
    elif isinstance(event, Resumed):
        print(f"\n(the answer goes on at {line(event.peer, 80)})", file=sys.stderr, flush=True)


def show_terms(terms: TermsShown, *, as_json: bool) -> None:
    """Print what is about to be signed, on standard error: the answer goes to standard output."""
    if as_json:
        from p2p.client.events import plain

        print(json.dumps(plain(terms)), file=sys.stderr, flush=True)
        return
    print(
        f"a token costs {money(terms.price_micro)} now, {money(terms.max_price_micro)} at most; for up to "
        f"{terms.tokens} of prompt and answer {money(terms.most_micro)} at most", file=sys.stderr, flush=True,
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
            refund = f"{money(notice.amount_micro)} were refunded"
            print(f"inference {notice.inference_id} was {what} at height {notice.height}; {refund}")
    with contextlib.suppress(OSError):  # a read-only folder: they are printed again
        seen.write_text(f"{max(notice.height for notice in notices)}\n")
