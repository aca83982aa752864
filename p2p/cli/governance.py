"""governance: propose, vote, list, through any peer. Law: what is proposed is built here first, so that a wrong word fails here."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.cli.account import common, genesis_of, send
from p2p.cli.words import public_key, text_argument, whole

if TYPE_CHECKING:
    from p2p.ledger.rules.ops import Change


_whole = whole(0, 2**63 - 1)


def register(commands: Any) -> None:
    command = commands.add_parser("governance", help="propose a change of rules or models, vote, list")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    propose = actions.add_parser("propose", help="one change: of checks, of the economy, of a model")
    one = propose.add_mutually_exclusive_group(required=True)
    one.add_argument("--checks", nargs="+", metavar="FIELD=VALUE")
    one.add_argument("--economy", nargs="+", metavar="FIELD=VALUE")
    one.add_argument("--add-model", nargs="+", metavar="FIELD=VALUE", help="all fields of a model's spec; lists by commas")
    one.add_argument("--change-model", nargs="+", metavar="MODEL FIELD=VALUE")
    one.add_argument("--retire-model", metavar="MODEL")
    vote = actions.add_parser("vote", help="by the account in --dir, with its nodes' weight")
    vote.add_argument("proposal")
    vote.add_argument("vote", choices=("yes", "no"))
    listed = actions.add_parser("list", help="proposals, and the rules in force")
    for action in (propose, vote, listed):
        common(action)
        action.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    genesis = genesis_of(options)
    if options.action == "list":
        from p2p.cli.local import readable
        from p2p.cli.tasks import run_async
        from p2p.client.connection import query_once

        answer = run_async(query_once, options.peer, genesis.network, {"op": "governance"})
        print(json.dumps(answer) if options.json else readable(answer))
        return 0
    from p2p.base.keys import Key
    from p2p.ledger.rules.ops import Propose, Vote

    body = Propose(_change(options)) if options.action == "propose" else Vote(public_key(options.proposal, "proposal"), options.vote == "yes")
    return send(options, genesis, Key.load(options.dir / "account.key"), body)


def _change(options: argparse.Namespace) -> Change:
    from p2p.base.genesis import CheckRules, EconomyRules, ModelSpec
    from p2p.ledger.rules.ops import AddModel, ChangeChecks, ChangeEconomy, ChangeModel, RetireModel
    from p2p.ledger.rules.parameters import changed

    if options.checks:
        fields = _fields(options.checks, CheckRules())
        changed(CheckRules(), fields)
        return ChangeChecks(fields)
    if options.economy:
        return ChangeEconomy(_fields(options.economy, EconomyRules()))
    blank = ModelSpec("", bytes(32), bytes(32), "", 0, 0, 0)
    if options.add_model:
        return AddModel(changed(blank, _fields(options.add_model, blank)))
    if options.change_model:
        return ChangeModel(options.change_model[0], _fields(options.change_model[1:], blank))
    return RetireModel(options.retire_model)


def _parts(text: str) -> tuple[Any, ...]:
    """Names of stacks, or ids of tokens."""
    return tuple(_whole(part) if part.isdecimal() else part for part in text.split(",") if part)


def _fields(words: list[str], like: object) -> tuple[tuple[str, Any], ...]:
    """FIELD=VALUE as the field's type in `like`; hashes stay hexadecimal text. Raises ConfigError naming the field."""
    found = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not hasattr(like, name):
            raise ConfigError("FIELD=VALUE is wanted, with a field of the rules", field=name)
        kind = type(getattr(like, name))
        try:
            text_argument(text, name)
            found.append((name, _whole(text) if kind in (int, bool) else _parts(text) if kind is tuple else text))
        except argparse.ArgumentTypeError as error:
            raise ConfigError(str(error), field=name) from error
    if not found:
        raise ConfigError("FIELD=VALUE is wanted", field="change")
    return tuple(found)
