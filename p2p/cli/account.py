"""account: account transactions of the account in --dir, through any peer; `show` asks for an account.

Law: transactions are signed here, and the peer never sees the key.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.limits import TRANSACTION_WAIT_S
from p2p.cli import questions
from p2p.cli.amounts import amount, money
from p2p.cli.arguments import (
    MAX_HEIGHT,
    SECONDS_A_DAY,
    default_dir,
    multiaddr,
    number,
    peer_of,
    read_genesis,
    read_id,
    utf8,
    whole,
)
from p2p.cli.output import show
from p2p.cli.terminal.styled import Line, Span
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.base.keys import Key, NetworkId
    from p2p.cli.questions import Ask
    from p2p.ledger.rules.ops import Body
    from p2p.wire.answers.accounts import AccountAnswer, HeldAnswer

    MakeBody = Callable[[argparse.Namespace, Key, NetworkId], Body]

AMOUNT, SOME, HEIGHT = amount(0), amount(1), whole(0, MAX_HEIGHT)


def register(commands: Any) -> None:
    command = commands.add_parser("account")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, arguments, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=text)
        for argument, kind in arguments:
            _add(action, argument, kind)
        common(action)
        action.set_defaults(run=run)
    text = "balance, escrows, pending transactions, next nonce, caps, hot keys and nodes of an account"
    shown = actions.add_parser("show", aliases=["balance"], help=text)
    shown.add_argument(
        "--account", metavar="HEX", help="the account's public key, 64 hexadecimal digits (default: that of --dir)",
    )
    common(shown, peer_help="ask this peer instead of the one that runs in --dir")
    shown.set_defaults(run=run_show)


def _add(action: argparse.ArgumentParser, name: str, kind: Any) -> None:
    """Add one argument of an account transaction; _HELP says what it is."""
    text = _HELP[name.lstrip("-").replace("-", "_")]
    if not name.startswith("--"):
        action.add_argument(name, type=kind, metavar=name.upper(), help=text)
    elif kind is list:
        action.add_argument(name, action="append", default=[], metavar="NAME", help=text)
    elif kind is AMOUNT:
        action.add_argument(name, type=kind, default=0, metavar="AMOUNT", help=text)
    else:
        action.add_argument(name, type=kind, default="", metavar="HEX" if name == "--node" else "TEXT", help=text)


def common(action: argparse.ArgumentParser, peer_help: str = "") -> None:
    """Add what every account transaction needs. peer_help: for an action that needs no --peer and does not wait."""
    action.add_argument(
        "--peer", metavar="MULTIADDR",
        help=peer_help or "the peer that takes the transaction (default: the one in --dir, else one of its settings)",
    )
    action.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the folder with account.key, node.key and genesis.cbor (default: %(default)s)",
    )
    if not peer_help:
        action.add_argument(
            "--wait", action=argparse.BooleanOptionalAction, default=True,
            help="wait until the chain has the transaction (default: wait)",
        )
        action.add_argument(
            "--timeout", type=number(0.001, SECONDS_A_DAY), default=TRANSACTION_WAIT_S, metavar="SECONDS",
            help="how long to wait at most (default: %(default)g)",
        )
    action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(options: argparse.Namespace) -> int:
    from p2p.base.keys import Key

    genesis, key = checked_genesis(options), Key.load(options.dir / "account.key")
    return send(options, genesis, key, _ACTIONS[options.action][2](options, key, genesis.network))


def checked_genesis(options: argparse.Namespace) -> Genesis:
    """The genesis file of --dir, once --peer is known to be an address; a peer is found where none is named. Raises
    ConfigError."""
    use = "to know for which network to sign"
    if options.peer is None:
        from p2p.cli.finding import peers_for

        genesis, peers = peers_for(options.dir, None, use=use)
        if not peers:
            raise ConfigError("give --peer MULTIADDR, or set `bootstrap` in config.toml of --dir", field="peer")
        options.peer = peers[0]
        return genesis
    multiaddr(options.peer)
    found = read_genesis(options.dir, use)
    peer_of(options.peer)
    return found


def run_show(options: argparse.Namespace) -> int:
    """Print what a peer says of an account; `folkmoot prove account` proves it."""
    from msgspec import to_builtins

    from p2p.base.keys import Key
    from p2p.wire.answers.accounts import AccountAnswer, HeldAnswer
    from p2p.wire.answers.reading import read

    given = options.account is not None
    of = (read_id(options.account, "account") if given else Key.public_in(options.dir / "account.key")).hex()
    peer = options.peer or str(options.dir)

    def ask_both(ask: Ask) -> tuple[AccountAnswer, HeldAnswer | None]:
        found = read(AccountAnswer, ask({"op": "account", "account": of}), "account", peer)
        try:
            return found, read(HeldAnswer, ask({"op": "held", "account": of}), "held", peer)
        except InvalidRequest:  # a peer of an earlier version, which does not know the question
            return found, None

    if options.peer is not None:
        found, held = questions.asking(options.dir, options.peer, checked_genesis(options).network, ask_both)
    else:
        found, held = questions.asking_any(options.dir, ask_both)
    told = {**to_builtins(found), "held": None if held is None else to_builtins(held)}
    show(options, told, lambda: _lines(found, held))
    return 0


def _lines(found: AccountAnswer, held: HeldAnswer | None) -> list[Line]:
    caps = (("an epoch", found.epoch_cap_micro), ("a request", found.request_cap_micro))
    cap = ", ".join(f"{money(micro)} {what}" for what, micro in caps if micro)
    rows: list[tuple[str, str]] = [
        ("account", found.account), ("balance", f"{money(found.balance_micro)} at height {found.height}"),
        *(_held(held) if held is not None else []),
        ("next nonce", str(found.next_nonce)), ("caps", cap or "none"),
    ]
    for hot in found.hot_keys:
        most = money(hot.epoch_cap_micro) if hot.epoch_cap_micro else "any"
        rows.append(("hot key", f"{hot.key} until height {hot.expires}, spent {money(hot.spent_micro)} of {most} in "
                     f"epoch {hot.epoch}"))
    for node in found.nodes:
        state = f"leaves at height {node.leaving}" if node.leaving else "registered"
        models = ", ".join(line(model, 96) for model in node.models) or "no model"
        offer = f"weight {node.weight}, collateral {money(node.collateral_micro)}, serves {models}"
        rows.append(("node", f"{node.node} {state}: {offer}"))
        rows += [("", f"{money(one.amount_micro)} return at height {one.height}") for one in node.withdrawals]
    if not found.nodes:
        rows.append(("node", "none is registered"))
    return [(Span(f"{name:12}", "dim"), text) for name, text in rows]


def _held(held: HeldAnswer) -> list[tuple[str, str]]:
    """What is bound of the account's money, and what waits."""
    what = f"{len(held.escrows)} running inferences with deadlines to height {held.until}"
    rows = [("escrows", f"{money(held.escrow_micro)} in {what}")]
    rows += [
        ("", f"{one.inference_id} {money(one.amount_micro)}, {line(one.model, 96)}, until height {one.deadline}")
        for one in held.escrows
    ]
    waits = ", ".join(map(str, held.pending))
    rows.append(("pending", f"transactions with nonce {waits}" if waits else "no transaction waits for a block"))
    if held.reserved_micro:
        rows.append(("", f"{money(held.reserved_micro)} in requests that are not on chain yet"))
    return rows


def send(options: argparse.Namespace, genesis: Genesis, key: Key, body: Body) -> int:
    """Sign `body` as the account of `key`, hand it to --peer, wait as --wait says, print what became of it."""
    from p2p.cli.tasks import run_async
    from p2p.client.connection import submit_operation
    from p2p.client.nonces import Nonces

    def taken(answer: dict[str, Any]) -> None:
        if not options.json:
            print(f"taken by the peer: {answer['kind']}, nonce {answer['nonce']}, {answer['op_id']}", flush=True)

    nonces, wait_s = Nonces(options.dir / "nonces"), options.timeout if options.wait else 0.0
    answer = run_async(submit_operation, options.peer, genesis, key, body, nonces, wait_s, taken)
    if options.json:
        print(json.dumps(answer))
    elif not options.wait:
        taken(answer)
    elif answer["state"] == "done":
        print(f"on chain: height {answer['height']}")
    else:
        print("its nonce is used on chain, most likely by itself: the peer has not seen it, or has forgotten")
    return 0


# -- the transaction of each action -------------------------------------------------------------------------------


def _node(options: argparse.Namespace) -> bytes:
    """The key that --node names, or that of --dir."""
    from p2p.base.keys import Key

    return read_id(options.node, "node") if options.node else Key.load(options.dir / "node.key").public


def _transfer(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Transfer

    return Transfer(read_id(options.to, "to"), options.amount)


def _register(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.base.keys import Domain, Key
    from p2p.ledger.rules.ops import MAX_METADATA, MAX_MODELS_OF_NODE, MAX_STACKS, Register, consent

    bounds = (("model", MAX_MODELS_OF_NODE), ("stack", MAX_STACKS), ("metadata", MAX_METADATA))
    for name, most in bounds:
        if len(getattr(options, name)) > most:
            raise ConfigError(f"give at most {most}{' characters' if name == 'metadata' else ''}", field=name)
    for name in ("model", "stack"):
        for word in getattr(options, name):
            utf8(word, name)
    utf8(options.metadata, "metadata")
    if options.consent:
        public, signature = read_consent(options.consent, key, network)
    else:
        node = Key.load(options.dir / "node.key")
        public, signature = node.public, node.sign(Domain.NODE, network, consent(key.public))
    return Register(
        public, tuple(options.model), tuple(options.stack), options.price_floor, options.metadata, signature,
    )


def read_consent(text: str, key: Key, network: NetworkId) -> tuple[bytes, bytes]:
    """(node, its signature) of the words that `folkmoot key consent` prints where the node is. Raises ConfigError."""
    from p2p.base.keys import Domain, verify
    from p2p.ledger.rules.ops import consent

    node, _, signature = text.partition(":")
    try:
        found = bytes.fromhex(node), bytes.fromhex(signature)
    except ValueError:
        found = b"", b""
    if not verify(found[0], Domain.NODE, network, consent(key.public), found[1]):
        raise ConfigError(
            f"these words are no consent of a node to this account on {network}; on the node's machine: folkmoot key"
            f" consent {key.public.hex()}", field="consent",
        )
    return found


def _unregister(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Unregister

    return Unregister(_node(options))


def _rotate(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.base.keys import Domain, Key
    from p2p.ledger.rules.ops import Rotate, consent_to_rotate

    old, new = Key.load(options.dir / "node.key"), Key.load(options.new_key)
    words = consent_to_rotate(key.public, old.public, new.public)
    return Rotate(old.public, new.public, old.sign(Domain.NODE, network, words), new.sign(Domain.NODE, network, words))


def _deposit(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Deposit

    return Deposit(_node(options), options.amount)


def _withdraw(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Withdraw

    return Withdraw(_node(options), options.amount)


def _delegate(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Delegate

    return Delegate(read_id(options.key, "key"), options.epoch_cap, options.request_cap, options.expires)


def _revoke(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Revoke

    return Revoke(read_id(options.key, "key"))


def _cap(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Cap

    return Cap(options.epoch_cap, options.request_cap)


def _appeal(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Appeal

    return Appeal(read_id(options.inference, "inference"))


_CAPS = (("epoch_cap", AMOUNT), ("request_cap", AMOUNT))
_OFFER = (("--model", list), ("--stack", list), ("--price-floor", AMOUNT), ("--metadata", str), ("--consent", str))
_HELP = {
    "to": "the account that is paid, 64 hexadecimal digits",
    "amount": "micro-credits, 1 or more; or credits: 0.25cr",
    "model": "a model that the node serves; may be repeated",
    "stack": "a stack class that the node runs; may be repeated",
    "price_floor": "the least that the node takes for a token, in micro-credits (default: 0)",
    "metadata": "a text that others see (default: none)",
    "consent": "the words of `folkmoot key consent`, where node.key is on another machine (default: node.key in --dir)",
    "node": "the node's public key, 64 hexadecimal digits (default: that of node.key in --dir)",
    "new_key": "the file of the node's new key",
    "key": "the hot key's public key, 64 hexadecimal digits",
    "epoch_cap": "the most that requests may hold in an epoch, in micro-credits or credits (5cr); 0: no bound",
    "request_cap": "the most that one request may hold, in micro-credits or credits (0.1cr); 0: no bound",
    "expires": "the last height at which the hot key may sign",
    "inference": "the inference's id, 64 hexadecimal digits",
}
_ACTIONS: dict[str, tuple[str, tuple[tuple[str, Any], ...], MakeBody]] = {
    "transfer": ("pay another account", (("to", str), ("amount", SOME)), _transfer),
    "register": (
        "bind the node of --dir to the account, for the registration fee and a bond, or change what it offers, for"
        " nothing", _OFFER, _register,
    ),
    "unregister": ("let a node leave; its collateral returns after a wait", (("--node", str),), _unregister),
    "rotate": (
        "give the node of --dir another key, for the registration fee; do it while no duty is open",
        (("new_key", Path),), _rotate,
    ),
    "deposit": ("put down collateral for a node", (("amount", SOME), ("--node", str)), _deposit),
    "withdraw": ("take collateral back, after a wait", (("amount", SOME), ("--node", str)), _withdraw),
    "delegate": (
        "let a hot key sign requests up to a height", (("key", str), *_CAPS, ("expires", HEIGHT)), _delegate,
    ),
    "revoke": ("end a hot key", (("key", str),), _revoke),
    "appeal": (
        "ask a larger committee about an answer of your node that lost a dispute; holds a bond", (("inference", str),),
        _appeal,
    ),
    "cap": ("bound what the account's requests may hold", _CAPS, _cap),
}
