"""What one participant's epoch came to, as plain data: every inference with the rule that decided it, then the sums. Law: read only; all
from the state; the labels are those of README.md, "Money".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from p2p.genesis import Genesis
from p2p.ledger import earnings
from p2p.ledger.records import Earning, EpochSums, Inference
from p2p.ledger.view import View
from p2p.types import STANDS, Status

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
    FINED = "M13"


def rule_of(inference: Inference, record: Earning, *, settled: bool) -> tuple[str, Rule]:
    """(one word for people, the rule) of an inference that ended. settled: its epoch is; before, what is booked can still be forfeited."""
    own = record.owner == inference.signed_request.request.account
    if inference.status in STANDS:
        if 0 < record.fees_micro == record.forfeited_micro:
            return "forfeited", Rule.FORFEITED
        return "paid" if settled else "booked", Rule.OWN if own else Rule.PAID
    if inference.status == Status.EXPIRED.value:
        return "refunded", Rule.UNCHECKED if inference.finish else Rule.UNFINISHED
    return ("refused", Rule.REFUSED) if inference.status == Status.INVALIDATED.value else ("refunded", Rule.UNCONFIRMED)


def statement(view: View, genesis: Genesis, epoch: int, node: bytes, start: int) -> dict[str, Any]:
    """A page of at most PAGE inferences of `node` that ended in `epoch`, from number `start` on. `next`: where the next page starts, -1 at
    the end. `kept`: whether the epoch's single inferences are in the state at all (keep_epochs)."""
    record = earnings.earning(view, epoch, node)
    ids = earnings.ended(view, epoch, node, start, PAGE)
    sums = earnings.sums(view, epoch)
    rows = [_row(one, inference, record, sums.height > 0) for one in ids if record and (inference := view.inference(one))]
    end = start + len(ids)
    return {
        "epoch": epoch, "first_height": epoch * genesis.epoch_blocks + 1, "last_height": (epoch + 1) * genesis.epoch_blocks,
        "node": node.hex(), "kept": earnings.is_kept(view, epoch), "inferences": rows,
        "next": end if record and end < record.ended else -1,
        "own": _own(record or Earning()), "sums": _sums(sums),
    }


def _row(inference_id: bytes, inference: Inference, record: Earning, settled: bool) -> dict[str, Any]:
    what, rule = rule_of(inference, record, settled=settled)
    return {
        "id": inference_id.hex(), "what": what, "rule": rule.value, "status": inference.status, "reason": inference.reason,
        "height": inference.end_height, "fee_micro": inference.paid_micro, "refunded_micro": inference.refunded_micro,
        "price_micro": inference.price_micro,
    }


def _own(record: Earning) -> dict[str, Any]:
    return {
        "fees_micro": record.fees_micro, "work": record.work, "paid_micro": record.paid_micro, "reward_micro": record.reward_micro,
        "duties_micro": record.duties_micro, "bounty_micro": record.bounty_micro, "forfeited_micro": record.forfeited_micro,
        "slashed_micro": record.slashed_micro, "fined_micro": record.fined_micro,
    }


def _sums(sums: EpochSums) -> dict[str, Any]:
    return {
        "settled_at": sums.height, "minted_micro": sums.minted_micro, "fees_micro": sums.fees_micro, "slashed_micro": sums.slashed_micro,
        "penalties_micro": sums.penalties_micro, "paid_micro": sums.paid_micro, "duties_micro": sums.duties_micro,
        "bounty_micro": sums.bounty_micro, "burnt_micro": sums.burnt_micro, "forfeited_micro": sums.forfeited_micro, "work": sums.work,
        "count": sums.inferences,
    }
