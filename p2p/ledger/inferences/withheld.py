"""An answer that no committee could get. Law: whoever had nothing to look at judges nothing, so it neither stands nor falls; it is not paid, and
what it costs its executor is what such answers cost in the mean, however few are checked. Only a test over epochs calls it unreliable.

An honest executor's answer is lost like this only while nobody serves it: not the executor, not the agent that confirmed it, not a member of a
committee that has it. A cheat that shows its payload to nobody earns nothing with it (decision 033).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.outcomes import refund
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.state.committee import Panel
from p2p.ledger.state.records import Inference
from p2p.verification.sequential import Detector, sight_milli

REASON = "no committee could get its payload"


def is_missing(panel: Panel, weights: Mapping[bytes, int]) -> bool:
    """Of the weight that spoke in this committee, more could not get the payload than judged it."""
    judged = sum(weights.get(verdict.validator, 0) for verdict in panel.judged)
    return sum(weights.get(verdict.validator, 0) for verdict in panel.verdicts) > 2 * judged


def is_lost(inference: Inference, weights: Mapping[bytes, int]) -> bool:
    """No committee that spoke got it. Where one did, its members can hand it on, and what later ones could not get changes nothing: else who
    was refuted would withhold from the next committee."""
    spoke = [panel for panel in inference.panels if any(weights.get(verdict.validator, 0) for verdict in panel.verdicts)]
    return bool(spoke) and all(is_missing(panel, weights) for panel in spoke)


def close(ctx: Context, inference_id: bytes, inference: Inference, *, own: bool) -> None:
    """All back to the client. Where more than half of the weight of each committee says so it is M18: the fine of M16, and the executor's answers
    are all checked until the end of the next epoch. Where more of them were silent it is M5, and nobody's fault: what kept them away may have
    kept the payload away. own: the client is the executor's owner, so nobody is harmed and nothing is counted."""
    assert inference.finish is not None
    if not all(_is_whole(ctx, panel) for panel in inference.panels):
        refund(ctx, inference_id, inference, REASON, Status.EXPIRED)
        return
    if not own:
        earnings.fine(ctx, inference)
        _count(ctx, inference.finish.record.executor, drawn=inference.panels[0].height)
    refund(ctx, inference_id, inference, REASON, Status.WITHHELD)


def count_shown(ctx: Context, node: bytes) -> None:
    """A committee got an answer of `node` and judged it."""
    checks, standing = ctx.checks, ctx.view.standing(node)
    _, shown = sight_milli(checks.honest_miss_ppm)
    ctx.view.put_standing(node, replace(standing, shown=standing.shown.updated(shown, checks.llr_cap_milli)))


def _is_whole(ctx: Context, panel: Panel) -> bool:
    weights = voting_weights(ctx, panel.members)
    return 2 * sum(weights[verdict.validator] for verdict in panel.verdicts if not verdict.judged) > sum(weights.values())


def _count(ctx: Context, node: bytes, *, drawn: int) -> None:
    """drawn: height of its first committee. Answers that were in flight together were lost to one and the same outage, and count once."""
    checks, standing, participant = ctx.checks, ctx.view.standing(node), ctx.view.participant(node)
    standing = replace(standing, withheld=standing.withheld + 1, watched_until=ctx.next_epoch_end)
    if drawn <= standing.withheld_at or participant is None:
        ctx.view.put_standing(node, standing)
        return
    hidden, _ = sight_milli(checks.honest_miss_ppm)
    found = standing.shown.updated(hidden, checks.llr_cap_milli)
    log = None if participant.suspended_until else found.reached(checks.conviction_milli)
    ctx.view.put_standing(node, replace(standing, withheld_at=ctx.height, shown=found if log is None else Detector()))
    if log is not None:
        what = f"log e-value {log} of {checks.conviction_milli} thousandths of a nat for payloads that nobody could get"
        reason = f"epoch {ctx.epoch}: {what}"
        ctx.view.put_participant(replace(participant, reputations=(), suspended_until=ctx.next_epoch_end, suspended_reason=reason))
