"""What the chain says about an account, as the parts of an answer. Law: read only; bytes are hexadecimal."""

from __future__ import annotations

from p2p.base.types import Status
from p2p.ledger.money.accounts import limits
from p2p.ledger.money.notices import notices
from p2p.ledger.participants.registry import nodes_of
from p2p.ledger.state import keys
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View
from p2p.wire.answers.accounts import (
    MAX_ESCROWS,
    AccountAnswer,
    AccountNode,
    EscrowRow,
    HotKey,
    Notice,
    Withdrawal,
)

ID_BYTES = 32
LOOK_AHEAD = 600  # heights; the requests of this program have their deadlines within 300
MAX_LOOKED_AT = 4096  # running inferences of all accounts, in one answer


def account_answer(
    view: View, public: bytes, *, next_nonce: int, height: int, beacon: bytes, since: int
) -> AccountAnswer:
    """Balance, caps, hot keys and nodes of an account, and its notices of heights after `since`."""
    found = limits(view, public)
    return AccountAnswer(
        account=public.hex(), balance_micro=view.account(public).balance_micro, next_nonce=next_nonce, height=height,
        beacon=beacon.hex(), epoch_cap_micro=found.own.epoch_cap_micro, request_cap_micro=found.own.request_cap_micro,
        hot_keys=tuple(
            HotKey(
                hot.key.hex(), hot.expires, hot.spending.epoch_cap_micro, hot.spending.request_cap_micro,
                hot.spending.spent_micro, hot.spending.epoch,
            )
            for hot in found.hot
        ),
        nodes=tuple(_node(participant) for participant in nodes_of(view, public)),
        notices=notice_rows(view, public, since),
    )


def escrow_rows(view: View, account: bytes, height: int) -> tuple[tuple[EscrowRow, ...], int]:
    """(what inferences that run after block `height` hold of the account's money, the last deadline that was looked
    at). They are found by their deadlines, since the state lists them by nothing else."""
    rows: list[EscrowRow] = []
    looked_at = 0
    for deadline in range(height + 1, height + 1 + LOOK_AHEAD):
        for due in dict.fromkeys(view.ids(keys.due(deadline))):
            if len(due) != ID_BYTES:  # something else is due then
                continue
            if looked_at == MAX_LOOKED_AT or len(rows) == MAX_ESCROWS:
                return tuple(rows), deadline - 1
            looked_at += 1
            found = view.inference(due)
            if found is None or found.status != Status.STARTED.value:
                continue
            request = found.signed_request.request
            if request.account == account and request.deadline_height == deadline:
                rows.append(
                    EscrowRow(due.hex(), request.model, found.escrow_micro, found.start_height, deadline)
                )
    return tuple(rows), height + LOOK_AHEAD


def notice_rows(view: View, account: bytes, since: int) -> tuple[Notice, ...]:
    """What became of the account's earlier inferences after height `since`."""
    return tuple(Notice(n.inference_id.hex(), n.what, n.amount_micro, n.height) for n in notices(view, account, since))


def _node(participant: Participant) -> AccountNode:
    return AccountNode(
        node=participant.node.hex(), weight=participant.weight, models=participant.models, stacks=participant.stacks,
        price_floor_micro=participant.price_floor_micro, metadata=participant.metadata,
        collateral_micro=participant.collateral_micro, bond_micro=participant.bond_micro, leaving=participant.leaving,
        withdrawals=tuple(Withdrawal(one.amount_micro, one.height) for one in participant.withdrawals),
    )
