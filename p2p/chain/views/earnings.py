"""What one participant's epoch came to: each inference with the rule that decided it, then the sums.

Law: read only, from the state alone; the labels are those of docs/ledger-rules.md, "Money". Cases that are open now
are added, whatever their epoch.
"""

from __future__ import annotations

from enum import StrEnum

from p2p.base.types import STANDS, Status
from p2p.ledger.inferences import pruning
from p2p.ledger.money import epoch_accounts
from p2p.ledger.rules.context import Context
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Earning, EpochSums, Inference
from p2p.ledger.state.view import View
from p2p.wire.answers.network import EarningRow, EarningsAnswer, EpochSumsRow, OpenDispute, OwnSums

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


def earnings_answer(ctx: Context, epoch: int, node: bytes, start: int) -> EarningsAnswer:
    """A page of at most PAGE inferences of `node`, under all its keys, that ended in `epoch`: from number `start`
    on."""
    records = _records(ctx.view, epoch, node)
    ids = _page(ctx.view, epoch, records, start)
    sums = epoch_accounts.sums(ctx.view, epoch)
    rows = (
        _row(one, inference, record, sums.height > 0)
        for one, record in ids if (inference := ctx.view.inference(one))
    )
    end, blocks = start + len(ids), ctx.genesis.epoch_blocks
    return EarningsAnswer(
        ctx.height - 1, epoch, epoch * blocks + 1, (epoch + 1) * blocks, node.hex(), pruning.is_kept(ctx.view, epoch),
        tuple(rows), end if end < sum(record.ended for _, record in records) else -1,
        _own([record for _, record in records]), _sums(sums), open_dispute_rows(ctx, node)[:PAGE],
    )


def open_dispute_rows(ctx: Context, node: bytes) -> tuple[OpenDispute, ...]:
    """Lost disputes of `node` that are not decided yet, whatever the epoch."""
    bond, found = ctx.economy.appeal_bond_micro, []
    for inference_id in open_disputes(ctx.view, node):
        inference = ctx.view.inference(inference_id)
        if inference is not None:
            found.append(OpenDispute(
                inference_id.hex(), Rule.OPEN.value, inference.status, inference.reason, inference.appeal_until,
                inference.appeal is not None, inference.due_micro,
                inference.appeal.bond_micro if inference.appeal else bond,
            ))
    return tuple(found)


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


def _row(inference_id: bytes, inference: Inference, record: Earning, settled: bool) -> EarningRow:
    what, rule = rule_of(inference, record, settled=settled)
    appeal = inference.appeal
    return EarningRow(
        inference_id.hex(), what, rule.value, inference.status, inference.reason, inference.end_height,
        inference.paid_micro, inference.refunded_micro, inference.price_micro, appeal.bond_micro if appeal else 0,
        appeal.burnt_micro if appeal else 0,
    )


def _own(records: list[Earning]) -> OwnSums:
    return OwnSums(**{name: sum(getattr(record, name) for record in records) for name in OwnSums.__struct_fields__})


def _sums(sums: EpochSums) -> EpochSumsRow:
    return EpochSumsRow(
        sums.height, sums.minted_micro, sums.fees_micro, sums.slashed_micro, sums.penalties_micro, sums.paid_micro,
        sums.duties_micro, sums.bounty_micro, sums.burnt_micro, sums.forfeited_micro, sums.work, sums.inferences,
    )
