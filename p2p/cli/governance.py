"""governance: propose, vote, list, through any peer.

Law: what is proposed is built here first, so that a wrong word fails here.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.cli import questions
from p2p.cli.account import checked_genesis, common, send
from p2p.cli.arguments import read_id, utf8, whole
from p2p.cli.output import readable, show

if TYPE_CHECKING:
    from p2p.ledger.rules.ops import Change


_whole = whole(0, 2**63 - 1)


def register(commands: Any) -> None:
    command = commands.add_parser("governance")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    propose = actions.add_parser("propose", help="propose one change: of checks, of the economy, of a model")
    one = propose.add_mutually_exclusive_group(required=True)
    one.add_argument("--checks", nargs="+", metavar="FIELD=VALUE", help="change rules of checking")
    one.add_argument("--economy", nargs="+", metavar="FIELD=VALUE", help="change rules of the economy")
    one.add_argument(
        "--add-model", nargs="+", metavar="FIELD=VALUE", help="all fields of the model's spec; lists with commas",
    )
    one.add_argument(
        "--change-model", nargs="+", metavar="MODEL FIELD=VALUE", help="the model's name, then what changes",
    )
    one.add_argument("--retire-model", metavar="MODEL", help="the model's name; its requests end")
    vote = actions.add_parser("vote", help="vote as the account in --dir, with the weight of its nodes")
    vote.add_argument("proposal", metavar="PROPOSAL", help="the proposal's id, as `folkmoot governance list` prints it")
    vote.add_argument("vote", choices=("yes", "no"), help="the vote")
    listed = actions.add_parser("list", help="proposals, and the rules in force")
    for action in (propose, vote, listed):
        common(action)
        action.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    genesis = checked_genesis(options)
    if options.action == "list":
        answer = questions.asking(
            options.dir, options.peer, genesis.network, lambda ask: ask({"op": "governance"})
        )
        show(options, answer, lambda: readable(answer))
        return 0
    from p2p.base.keys import Key
    from p2p.ledger.rules.ops import Propose, Vote

    if options.action == "propose":
        body: Propose | Vote = Propose(_change(options))
    else:
        body = Vote(read_id(options.proposal, "proposal"), options.vote == "yes")
    return send(options, genesis, Key.load(options.dir / "account.key"), body)


def _change(options: argparse.Namespace) -> Change:
    """The change that is proposed. Raises ConfigError naming the field that is wrong."""
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
    """A list with commas: names of stacks, or ids of tokens."""
    return tuple(_whole(part) if part.isdecimal() else part for part in text.split(",") if part)


def _fields(words: list[str], like: object) -> tuple[tuple[str, Any], ...]:
    """FIELD=VALUE as values of the types that the fields have in `like`; hashes stay hexadecimal text.

    Raises ConfigError naming the field.
    """
    found = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not hasattr(like, name):
            raise ConfigError(f"give FIELD=VALUE with a field of the rules, not {word[:60]!r}", field=name)
        kind = type(getattr(like, name))
        try:
            utf8(text, name)
            found.append((name, _whole(text) if kind in (int, bool) else _parts(text) if kind is tuple else text))
        except argparse.ArgumentTypeError as error:
            raise ConfigError(str(error), field=name) from error
    if not found:
        raise ConfigError("give at least one FIELD=VALUE", field="change")
    return tuple(found)
