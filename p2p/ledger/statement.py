"""What one participant's epoch came to, as plain data: each inference with the rule that decided it, then the sums.
Law: read only, from the state alone; the labels are those of docs/ledger-rules.md, "Money". Cases that are open now
are added, whatever their epoch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from p2p.base.types import STANDS, Status
from p2p.ledger.inferences import pruning
from p2p.ledger.money import epoch_accounts
from p2p.ledger.rules.context import Context
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Earning, EpochSums, Inference
from p2p.ledger.state.view import View

PAGE = 200  # inferences in one answer


class Rule(StrEnum):
    """Why money went where it went."""

    PAID = "M1"
    OWN = "M2"
    REFUSED = "M3"
    UNFINISHED = "M4"
    UNCHECKED = "M5"
    UNCONFIRMED = "M6"
    FORFEITED = "M7"
    FEES = "M8"
    EMISSION = "M9"
    SLASHED = "M10"
    ACCUSED = "M11"
    SUMS = "M12"
    SPRINT = "S"  # an answer of the sprint, for which no money moves
    OPEN = "M13"
    OVERTURNED = "M14"
    CONFIRMED = "M15"
    FINED = "M16"
    WITHHELD = "M18"


def rule_of(inference: Inference, record: Earning, *, settled: bool) -> tuple[str, Rule]:
    """(one word for people, the rule) of an inference that ended.

    settled: its epoch is settled; before that a booked fee can still be forfeited.
    """
    if inference.in_sprint:
        return "sprint", Rule.SPRINT
    own = record.owner == inference.signed_request.request.account
    if inference.status in STANDS:
        if 0 < record.fees_micro == record.forfeited_micro:
            return "forfeited", Rule.FORFEITED
        return "paid" if settled else "booked", Rule.OVERTURNED if inference.appeal else Rule.OWN if own else Rule.PAID
    if inference.status == Status.EXPIRED.value:
        return "refunded", Rule.UNCHECKED if inference.finish else Rule.UNFINISHED
    if inference.status == Status.WITHHELD.value:
        return "refunded", Rule.WITHHELD
    if inference.status != Status.INVALIDATED.value:
        return "refunded", Rule.UNCONFIRMED
    return "refused", Rule.CONFIRMED if inference.appeal and inference.appeal.burnt_micro else Rule.REFUSED


def statement(ctx: Context, epoch: int, node: bytes, start: int) -> dict[str, Any]:
    """A page of at most PAGE inferences of `node`, under all its keys, that ended in `epoch`, from number `start` on.

    `next`: where the next page starts, -1 at the end. `kept`: whether the state still has the epoch's single inferences
    (keep_epochs). `own`: the participant's sums; `sums`: those of all. Amounts are micro-credits.
    """
    records = _records(ctx.view, epoch, node)
    ids = _page(ctx.view, epoch, records, start)
    sums = epoch_accounts.sums(ctx.view, epoch)
    rows = [
        _row(one, inference, record, sums.height > 0)
        for one, record in ids if (inference := ctx.view.inference(one))
    ]
    end = start + len(ids)
    return {
        "epoch": epoch, "first_height": epoch * ctx.genesis.epoch_blocks + 1,
        "last_height": (epoch + 1) * ctx.genesis.epoch_blocks,
        "node": node.hex(), "kept": pruning.is_kept(ctx.view, epoch), "inferences": rows,
        "next": end if end < sum(record.ended for _, record in records) else -1,
        "own": _own([record for _, record in records]), "sums": _sums(sums),
        "open": open_dispute_rows(ctx, node)[:PAGE],
    }


def open_dispute_rows(ctx: Context, node: bytes) -> list[dict[str, Any]]:
    """Lost disputes of `node` that are not decided yet, whatever the epoch. bond_micro: held now, or what an appeal
    would hold.
    """
    bond, found = ctx.economy.appeal_bond_micro, []
    for inference_id in open_disputes(ctx.view, node):
        inference = ctx.view.inference(inference_id)
        if inference is not None:
            found.append({
                "id": inference_id.hex(), "rule": Rule.OPEN.value, "status": inference.status,
                "reason": inference.reason, "until": inference.appeal_until,
                "appealed": inference.appeal is not None, "due_micro": inference.due_micro,
                "bond_micro": inference.appeal.bond_micro if inference.appeal else bond,
            })
    return found


def _records(view: View, epoch: int, node: bytes) -> list[tuple[bytes, Earning]]:
    """(key, record) of each key that `node` had in the epoch, in the order of their first booking."""
    now = view.node_now(node)
    mine = [key for key in epoch_accounts.earners(view, epoch) if view.node_now(key) == now]
    found = ((key, epoch_accounts.earning(view, epoch, key)) for key in mine)
    return [(key, record) for key, record in found if record is not None]


def _page(view: View, epoch: int, records: list[tuple[bytes, Earning]], start: int) -> list[tuple[bytes, Earning]]:
    """Up to PAGE ids, from number `start` of all keys' inferences on, each with its key's record."""
    found: list[tuple[bytes, Earning]] = []
    for key, record in records:
        found += [(one, record) for one in epoch_accounts.ended(view, epoch, key, start, PAGE - len(found))]
        start = max(start - record.ended, 0)
    return found


def _row(inference_id: bytes, inference: Inference, record: Earning, settled: bool) -> dict[str, Any]:
    what, rule = rule_of(inference, record, settled=settled)
    return {
        "id": inference_id.hex(), "what": what, "rule": rule.value, "status": inference.status,
        "reason": inference.reason,
        "height": inference.end_height, "fee_micro": inference.paid_micro, "refunded_micro": inference.refunded_micro,
        "price_micro": inference.price_micro,
        "bond_micro": inference.appeal.bond_micro if inference.appeal else 0,
        "burnt_micro": inference.appeal.burnt_micro if inference.appeal else 0,
    }


def _own(records: list[Earning]) -> dict[str, Any]:
    names = (
        "fees_micro", "work", "paid_micro", "reward_micro", "duties_micro", "bounty_micro", "forfeited_micro",
        "slashed_micro", "fined_micro", "withheld_micro",
    )
    return {name: sum(getattr(record, name) for record in records) for name in names}


def _sums(sums: EpochSums) -> dict[str, Any]:
    return {
        "settled_at": sums.height, "minted_micro": sums.minted_micro, "fees_micro": sums.fees_micro,
        "slashed_micro": sums.slashed_micro, "penalties_micro": sums.penalties_micro, "paid_micro": sums.paid_micro,
        "duties_micro": sums.duties_micro, "bounty_micro": sums.bounty_micro, "burnt_micro": sums.burnt_micro,
        "forfeited_micro": sums.forfeited_micro, "work": sums.work, "count": sums.inferences,
    }
