"""account: orders of the account in --dir, through any peer. Law: signed here; the peer never sees the key."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.cli.words import public_key
from p2p.errors import ConfigError, InvalidRequest
from p2p.limits import ORDER_WAIT_S

if TYPE_CHECKING:
    from p2p.keys import Key, NetworkId
    from p2p.ledger.ops import Body

    MakeBody = Callable[[argparse.Namespace, Key, NetworkId], Body]

MAX_WAIT_S = 86_400


def register(commands: Any) -> None:
    command = commands.add_parser("account", help="transfer, register a node, deposit, delegate ...: orders of the account in --dir")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, arguments, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=text)
        for argument, kind in arguments:
            action.add_argument(argument, type=kind) if not argument.startswith("--") else _option(action, argument, kind)
        common(action)
        action.set_defaults(run=run)


def _option(action: argparse.ArgumentParser, name: str, kind: Any) -> None:
    if kind is list:
        action.add_argument(name, action="append", default=[])
    else:
        action.add_argument(name, type=kind, default=kind())


def common(action: argparse.ArgumentParser) -> None:
    """What every order needs."""
    action.add_argument("--peer", required=True, metavar="MULTIADDR")
    action.add_argument("--dir", type=Path, default=Path.home() / ".folkmoot", help="where account.key, node.key and genesis.cbor are")
    action.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until the chain has the order (default)")
    action.add_argument("--timeout", type=positive, default=ORDER_WAIT_S, metavar="S", help="wait so long at most (default: %(default).0f)")
    action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def positive(text: str) -> float:
    """Seconds."""
    seconds = float(text)
    if not 0 < seconds <= MAX_WAIT_S:
        raise argparse.ArgumentTypeError(f"from 0 to {MAX_WAIT_S} seconds")
    return seconds


def run(options: argparse.Namespace) -> int:
    from p2p.keys import Key

    network, key = network_of(options), Key.load(options.dir / "account.key")
    return send(options, network, key, _ACTIONS[options.action][2](options, key, network))


def network_of(options: argparse.Namespace) -> NetworkId:
    from p2p.genesis import load_genesis

    genesis_file = options.dir / "genesis.cbor"
    if "/p2p/" not in options.peer:
        raise ConfigError("a multiaddr with /p2p/ID is wanted", field="peer")
    if not genesis_file.exists():
        raise ConfigError(f"{genesis_file} is missing: it says which network the order is for", field="dir")
    return load_genesis(genesis_file).network


def send(options: argparse.Namespace, network: NetworkId, key: Key, body: Body) -> int:
    from p2p.cli.tasks import run_async
    from p2p.client import send_order
    from p2p.nonces import Nonces

    def taken(answer: dict[str, Any]) -> None:
        if not options.json:
            print(f"taken by the peer: {answer['kind']}, nonce {answer['nonce']}, {answer['op_id']}", flush=True)

    nonces = Nonces(options.dir / "nonces")
    answer = run_async(send_order, options.peer, network, key, body, nonces, options.timeout if options.wait else 0.0, taken)
    if options.json:
        print(json.dumps(answer))
    elif not options.wait:
        taken(answer)
    else:
        print(f"on chain: height {answer['height']}" if answer["state"] == "done" else "its nonce is used on chain; the peer has forgotten by what")
    return 0


# -- what each action orders -------------------------------------------------------------------------------------------------


def _node(options: argparse.Namespace) -> bytes:
    """--node, else the node key in --dir."""
    from p2p.keys import Key

    return public_key(options.node, "node") if options.node else Key.load(options.dir / "node.key").public


def _amount(options: argparse.Namespace) -> int:
    if not 1 <= options.amount < 2**63:
        raise InvalidRequest("micro-credits, from 1", field="amount")
    return int(options.amount)


def _transfer(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Transfer

    return Transfer(public_key(options.to, "to"), _amount(options))


def _register(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.keys import Domain, Key
    from p2p.ledger.ops import MAX_METADATA, MAX_MODELS_OF_NODE, MAX_STACKS, Register, consent

    bounds = (("model", MAX_MODELS_OF_NODE), ("stack", MAX_STACKS), ("metadata", MAX_METADATA))
    for name, most in bounds:
        if len(getattr(options, name)) > most:
            raise ConfigError(f"at most {most}", field=name)
    node = Key.load(options.dir / "node.key")
    return Register(
        node.public, tuple(options.model), tuple(options.stack), options.price_floor, options.metadata,
        node.sign(Domain.NODE, network, consent(key.public)),
    )


def _unregister(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Unregister

    return Unregister(_node(options))


def _rotate(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.keys import Domain, Key
    from p2p.ledger.ops import Rotate, consent_to_rotate

    old, new = Key.load(options.dir / "node.key"), Key.load(options.new_key)
    words = consent_to_rotate(key.public, old.public, new.public)
    return Rotate(old.public, new.public, old.sign(Domain.NODE, network, words), new.sign(Domain.NODE, network, words))


def _deposit(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Deposit

    return Deposit(_node(options), _amount(options))


def _withdraw(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Withdraw

    return Withdraw(_node(options), _amount(options))


def _delegate(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Delegate

    return Delegate(public_key(options.key, "key"), options.epoch_cap, options.request_cap, options.expires)


def _revoke(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Revoke

    return Revoke(public_key(options.key, "key"))


def _cap(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Cap

    return Cap(options.epoch_cap, options.request_cap)


def _appeal(options: argparse.Namespace, key: Key, network: NetworkId) -> Body:
    from p2p.ledger.ops import Appeal

    return Appeal(public_key(options.inference, "inference"))


_CAPS = (("epoch_cap", int), ("request_cap", int))
_ACTIONS: dict[str, tuple[str, tuple[tuple[str, Any], ...], MakeBody]] = {
    "transfer": ("pay another account: micro-credits", (("to", str), ("amount", int)), _transfer),
    "register": (
        "bind the node of --dir to the account, or change what it offers",
        (("--model", list), ("--stack", list), ("--price-floor", int), ("--metadata", str)), _register,
    ),
    "unregister": ("the node leaves; its collateral returns after a wait", (("--node", str),), _unregister),
    "rotate": ("the node of --dir goes on under another key", (("new_key", Path),), _rotate),
    "deposit": ("collateral for a node: micro-credits", (("amount", int), ("--node", str)), _deposit),
    "withdraw": ("collateral back, after a wait", (("amount", int), ("--node", str)), _withdraw),
    "delegate": ("let a hot key sign requests up to a height", (("key", str), *_CAPS, ("expires", int)), _delegate),
    "revoke": ("end a hot key", (("key", str),), _revoke),
    "appeal": ("ask a larger committee about an answer of your node that lost a dispute; holds a bond", (("inference", str),), _appeal),
    "cap": ("bound what requests may hold in an epoch and each; 0: no bound", _CAPS, _cap),
}
