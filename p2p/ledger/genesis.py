"""The first state. Law: a function of the genesis file alone."""

from __future__ import annotations

from p2p.base.genesis import Genesis
from p2p.ledger.participants.registry import first_participants
from p2p.ledger.participants.serving import keep_serving
from p2p.ledger.participants.sprint import check_sprint
from p2p.ledger.participants.validator_sets import first_members
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import first_models
from p2p.ledger.sound import check_values
from p2p.ledger.state import keys
from p2p.ledger.state.records import Account, Totals
from p2p.ledger.state.view import View


def check_genesis(genesis: Genesis) -> None:
    """Check a genesis file before a network is made of it or joined. Raises ConfigError for rules that do not fit
    together.
    """
    check_values(genesis)


def first_state(view: View, genesis: Genesis, beacon: bytes) -> None:
    """Put the state of height 0 into `view`: accounts, participants, models, minted money, validator and serving sets,
    the beacon.

    Raises ConfigError for rules that do not fit together.
    """
    check_sprint(genesis)
    for account in genesis.accounts:
        view.put_account(account.account, Account(account.balance_micro, proven_micro=account.balance_micro))
    first_participants(view, genesis)
    first_models(view, genesis)
    view.put_totals(Totals(minted_micro=sum(a.balance_micro for a in genesis.accounts)))
    view.put(keys.beacon(0), beacon)
    first_members(view, genesis)
    keep_serving(Context(view, genesis, 0))


def check_conservation(view: View, accounts: list[bytes]) -> bool:
    """Whether minted = balances + escrow + due + collateral + burnt, where `accounts` are all that exist."""
    totals = view.totals()
    balances = sum(view.account(account).balance_micro for account in accounts)
    held = totals.escrow_micro + totals.due_micro + totals.collateral_micro
    return totals.minted_micro == balances + held + totals.burnt_micro
