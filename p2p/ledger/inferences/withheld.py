"""An answer whose payload no committee could get. Law: a validator that saw nothing judges nothing, so the answer
neither stands nor falls.

It is not paid, and it costs its executor what such answers cost on average, however few are checked (M18). Only a test
over epochs calls an executor unreliable. The payload of an honest executor is missing only while nobody serves it:
neither the executor, nor the agent that confirmed the answer, nor a committee member that has it. A cheat that shows
its payload to nobody earns nothing with it (decision 033).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.money import epoch_accounts
from p2p.ledger.money.outcomes import refund
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.state.committee import Committee
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.records import Inference
from p2p.verification.sequential import Detector, detection_milli

REASON = "no committee could get its payload"


def is_missing(committee: Committee, weights: Mapping[bytes, int]) -> bool:
    """Whether, of the weight that spoke in this committee, less than half judged the answer."""
    judged = sum(weights.get(verdict.validator, 0) for verdict in committee.judged)
    return sum(weights.get(verdict.validator, 0) for verdict in committee.verdicts) > 2 * judged


def is_lost(inference: Inference, weights: Mapping[bytes, int]) -> bool:
    """Whether no committee that spoke got the payload.

    Once a committee got it, its members can pass it on, and what later committees could not get changes nothing.
    Otherwise an executor that was refuted would withhold its payload from the next committee.
    """
    def spoke(committee: Committee) -> bool:
        return any(weights.get(verdict.validator, 0) for verdict in committee.verdicts)

    heard = [committee for committee in inference.committees if spoke(committee)]
    return bool(heard) and all(is_missing(committee, weights) for committee in heard)


def close(ctx: Context, entry: InferenceEntry, *, own: bool) -> None:
    """Refund the client; M18 where more than half of each committee's weight said 'withheld', else M5.

    Where most of a committee was silent it is nobody's fault: what kept the validators away may have kept the payload
    away. M18 takes the fine of M16, and all of the executor's answers are checked until the end of the next epoch.
    own: the client is the executor's owner, so nobody is harmed and nothing is counted.
    """
    if not all(_is_whole(ctx, committee) for committee in entry.inference.committees):
        refund(ctx, entry, REASON, Status.EXPIRED)
        return
    if not own:
        epoch_accounts.fine(ctx, entry.inference)
        _count(ctx, entry.executor, drawn=entry.inference.committees[0].height)
    refund(ctx, entry, REASON, Status.WITHHELD)


def count_shown(ctx: Context, node: bytes) -> None:
    """A committee got an answer of `node` and judged it: evidence in its favour."""
    checks, conduct = ctx.checks, ctx.view.conduct(node)
    _, shown = detection_milli(checks.honest_miss_ppm)
    ctx.view.put_conduct(node, replace(conduct, shown=conduct.shown.updated(shown, checks.llr_cap_milli)))


def _is_whole(ctx: Context, committee: Committee) -> bool:
    """Whether more than half of the weight of all members said 'withheld'."""
    weights = voting_weights(ctx, committee.members)
    withheld = sum(weights[verdict.validator] for verdict in committee.verdicts if not verdict.judged)
    return 2 * withheld > sum(weights.values())


def _count(ctx: Context, node: bytes, *, drawn: int) -> None:
    """Count a withheld answer of `node`, and suspend it where the sequential test says so.

    drawn: height of the answer's first committee. Answers in flight together were lost in one outage and count once.
    """
    checks, conduct, participant = ctx.checks, ctx.view.conduct(node), ctx.view.participant(node)
    conduct = replace(conduct, withheld=conduct.withheld + 1, watched_until=ctx.next_epoch_end)
    if drawn <= conduct.withheld_at or participant is None:
        ctx.view.put_conduct(node, conduct)
        return
    hidden, _ = detection_milli(checks.honest_miss_ppm)
    test = conduct.shown.updated(hidden, checks.llr_cap_milli)
    log = None if participant.suspended_until else test.reached(checks.conviction_milli)
    shown = test if log is None else Detector()
    ctx.view.put_conduct(node, replace(conduct, withheld_at=ctx.height, shown=shown))
    if log is not None:
        limit = f"{checks.conviction_milli} thousandths of a nat"
        reason = f"epoch {ctx.epoch}: log e-value {log} of {limit} for payloads that nobody could get"
        ctx.view.put_participant(replace(
            participant, reputations=(), suspended_until=ctx.next_epoch_end, suspended_reason=reason,
        ))
