"""account: orders of the account in --dir, through any peer. Law: signed here; the peer never sees the key."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.base.limits import TRANSACTION_WAIT_S
from p2p.cli.words import MAX_AMOUNT, default_dir, multiaddr, number, peer_of, public_key, text_argument, whole
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.base.keys import Key, NetworkId
    from p2p.ledger.rules.ops import Body
    from p2p.wire.answers.accounts import AccountAnswer

    MakeBody = Callable[[argparse.Namespace, Key, NetworkId], Body]

MAX_WAIT_S = 86_400


MAX_HEIGHT = 2**32 - 1
AMOUNT, SOME, HEIGHT = whole(0, MAX_AMOUNT), whole(1, MAX_AMOUNT), whole(0, MAX_HEIGHT)


def register(commands: Any) -> None:
    command = commands.add_parser("account", help="transfer, register a node, deposit, delegate ...: orders of the account in --dir")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, arguments, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=text)
        for argument, kind in arguments:
            action.add_argument(argument, type=kind) if not argument.startswith("--") else _option(action, argument, kind)
        common(action)
        action.set_defaults(run=run)
    text = "balance, next nonce, caps, hot keys and nodes of the account in --dir, or of --account"
    show = actions.add_parser("show", aliases=["balance"], help=text)
    show.add_argument("--account", metavar="HEX", help="another account")
    common(show, peer_help="ask this peer instead of the one that runs in --dir")
    show.set_defaults(run=run_show)


def _option(action: argparse.ArgumentParser, name: str, kind: Any) -> None:
    if kind is list:
        action.add_argument(name, action="append", default=[])
    else:
        action.add_argument(name, type=kind, default=0 if kind is AMOUNT else "")


def common(action: argparse.ArgumentParser, peer_help: str = "") -> None:
    """What every order needs. peer_help: where the peer may be left out."""
    action.add_argument("--peer", required=not peer_help, metavar="MULTIADDR", help=peer_help or "who takes the order")
    action.add_argument("--dir", type=Path, default=default_dir(), help="where account.key, node.key and genesis.cbor are")
    if not peer_help:
        action.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until the chain has the order (default)")
        text = "wait so long at most (default: %(default).0f)"
        action.add_argument("--timeout", type=number(0.001, MAX_WAIT_S), default=TRANSACTION_WAIT_S, metavar="S", help=text)
    action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(options: argparse.Namespace) -> int:
    from p2p.base.keys import Key

    genesis, key = genesis_of(options), Key.load(options.dir / "account.key")
    return send(options, genesis, key, _ACTIONS[options.action][2](options, key, genesis.network))


def genesis_of(options: argparse.Namespace) -> Genesis:
    from p2p.base.genesis import load_genesis

    genesis_file = options.dir / "genesis.cbor"
    multiaddr(options.peer)
    if not genesis_file.exists():
        raise ConfigError(f"{genesis_file} is missing: it says which network the order is for", field="dir")
    found = load_genesis(genesis_file)
    peer_of(options.peer)
    return found


def run_show(options: argparse.Namespace) -> int:
    """What a peer says; `folkmoot prove account` proves it."""
    from msgspec import to_builtins

    from p2p.base.keys import Key
    from p2p.cli.verify import asking, read_genesis
    from p2p.wire.answers.accounts import AccountAnswer
    from p2p.wire.answers.reading import read

    of = public_key(options.account, "account") if options.account is not None else Key.load(options.dir / "account.key").public
    genesis = read_genesis(options.dir) if options.peer else None
    answer = asking(options.dir, options.peer, genesis, lambda ask: ask({"op": "account", "account": of.hex()}))
    found = read(AccountAnswer, answer, "account", options.peer or str(options.dir))
    print(json.dumps(to_builtins(found)) if options.json else "\n".join(_lines(found)))
    return 0


def _lines(found: AccountAnswer) -> list[str]:
    caps = (("an epoch", found.epoch_cap_micro), ("a request", found.request_cap_micro))
    cap = ", ".join(f"{micro} micro-credits {what}" for what, micro in caps if micro)
    lines = [
        f"account     {found.account}", f"balance     {found.balance_micro} micro-credits at height {found.height}",
        f"next nonce  {found.next_nonce}", f"caps        {cap or 'none'}",
    ]
    for hot in found.hot_keys:
        spent = f"spent {hot.spent_micro} of {hot.epoch_cap_micro or 'any'} in epoch {hot.epoch}"
        lines.append(f"hot key     {hot.key} until height {hot.expires}, {spent}")
    for node in found.nodes:
        state = f"leaves at height {node.leaving}" if node.leaving else "registered"
        models = ", ".join(line(model, 96) for model in node.models) or "no model"
        lines.append(f"node        {node.node} {state}: weight {node.weight}, collateral {node.collateral_micro}, serves {models}")
    return lines if found.nodes else [*lines, "node        none is registered"]


def send(options: argparse.Namespace, genesis: Genesis, key: Key, body: Body) -> int:

    from p2p.cli.tasks import run_async
    from p2p.client.connection import submit_operation
    from p2p.client.nonces import Nonces

    def taken(answer: dict[str, Any]) -> None:
        if not options.json:
            print(f"taken by the peer: {answer['kind']}, nonce {answer['nonce']}, {answer['op_id']}", flush=True)

    nonces = Nonces(options.dir / "nonces")
    answer = run_async(submit_operation, options.peer, genesis, key, body, nonces, options.timeout if options.wait else 0.0, taken)
    if options.json:
        print(json.dumps(answer))
    elif not options.wait:
        taken(answer)
    else:
        used = "its nonce is used on chain, most likely by itself: the peer has not seen it, or has forgotten"
        print(f"on chain: height {answer['height']}" if answer["state"] == "done" else used)
    return 0


# -- what each action orders -------------------------------------------------------------------------------------------------


def _node(options: argparse.Namespace) -> bytes:
    """--node, else the node key in --dir."""
    from p2p.base.keys import Key

    return public_key(options.node, "node") if options.node else Key.load(options.dir / "node.key").public


def _transfer(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Transfer

    return Transfer(public_key(options.to, "to"), options.amount)


def _register(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.base.keys import Domain, Key
    from p2p.ledger.rules.ops import MAX_METADATA, MAX_MODELS_OF_NODE, MAX_STACKS, Register, consent

    bounds = (("model", MAX_MODELS_OF_NODE), ("stack", MAX_STACKS), ("metadata", MAX_METADATA))
    for name, most in bounds:
        if len(getattr(options, name)) > most:
            raise ConfigError(f"at most {most}", field=name)
    for name in ("model", "stack"):
        for word in getattr(options, name):
            text_argument(word, name)
    text_argument(options.metadata, "metadata")
    node = Key.load(options.dir / "node.key")
    return Register(
        node.public, tuple(options.model), tuple(options.stack), options.price_floor, options.metadata,
        node.sign(Domain.NODE, network, consent(key.public)),
    )


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

    return Delegate(public_key(options.key, "key"), options.epoch_cap, options.request_cap, options.expires)


def _revoke(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Revoke

    return Revoke(public_key(options.key, "key"))


def _cap(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Cap

    return Cap(options.epoch_cap, options.request_cap)


def _appeal(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.rules.ops import Appeal

    return Appeal(public_key(options.inference, "inference"))


_CAPS = (("epoch_cap", AMOUNT), ("request_cap", AMOUNT))
_ACTIONS: dict[str, tuple[str, tuple[tuple[str, Any], ...], MakeBody]] = {
    "transfer": ("pay another account: micro-credits", (("to", str), ("amount", SOME)), _transfer),
    "register": (
        "bind the node of --dir to the account, or change what it offers",
        (("--model", list), ("--stack", list), ("--price-floor", AMOUNT), ("--metadata", str)), _register,
    ),
    "unregister": ("the node leaves; its collateral returns after a wait", (("--node", str),), _unregister),
    "rotate": ("the node of --dir goes on under another key", (("new_key", Path),), _rotate),
    "deposit": ("collateral for a node: micro-credits", (("amount", SOME), ("--node", str)), _deposit),
    "withdraw": ("collateral back, after a wait", (("amount", SOME), ("--node", str)), _withdraw),
    "delegate": ("let a hot key sign requests up to a height", (("key", str), *_CAPS, ("expires", HEIGHT)), _delegate),
    "revoke": ("end a hot key", (("key", str),), _revoke),
    "appeal": ("ask a larger committee about an answer of your node that lost a dispute; holds a bond", (("inference", str),), _appeal),
    "cap": ("bound what requests may hold in an epoch and each; 0: no bound", _CAPS, _cap),
}
