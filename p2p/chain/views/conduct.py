"""What the chain holds of each participant's conduct. Law: read only; what is shown is what the ledger counts."""

from __future__ import annotations

from msgspec.structs import asdict

from p2p.ledger.rules.context import Context
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Participant
from p2p.wire.answers.network import ConductRow, FaultRow, VerificationAnswer


def verification_answer(ctx: Context) -> VerificationAnswer:
    """How well the network checks, and each participant's conduct in the epoch of the next block."""
    counters = ctx.view.counters()
    return VerificationAnswer(
        height=ctx.height - 1, epoch=ctx.epoch, honest=counters.honest, false_alarms=counters.false_alarms,
        cheats=counters.cheats, conviction_milli=ctx.checks.conviction_milli,
        faults=tuple(FaultRow(f.fault, f.planted, f.checked, f.caught) for f in counters.faults),
        participants=tuple(_row(ctx, participant) for participant in ctx.view.participants()),
    )


def _row(ctx: Context, participant: Participant) -> ConductRow:
    seen = ctx.view.conduct(participant.node)
    return ConductRow(
        node=participant.node.hex(), owner=participant.owner.hex(), weight=participant.weight,
        reputation=participant.reputation, reputations=tuple(asdict(row) for row in participant.reputations),
        strikes=participant.strikes, misses=participant.misses,
        finished=seen.finished, booked=seen.booked, booked_before=seen.booked_before, checked=seen.checked,
        checked_tokens=seen.checked_tokens, struck=seen.struck, plants=seen.plants,
        log_e_milli=seen.evidence.log_milli(), compared=seen.compared, outliers=seen.outliers,
        faults=seen.faults, missed_faults=seen.missed_faults, detection_log_e_milli=seen.detection.log_milli(),
        distance_log_e_milli=seen.distance.log_milli(), duties=seen.duties, missed=seen.missed,
        missed_log_e_milli=seen.present.log_milli(), withheld=seen.withheld,
        withheld_log_e_milli=seen.shown.log_milli(), watched_until=seen.watched_until,
        convicted=participant.convicted_until > 0, convicted_until=participant.convicted_until,
        convicted_reason=participant.convicted_reason, barred=participant.barred_until > 0,
        barred_until=participant.barred_until, barred_reason=participant.barred_reason,
        paired=seen.paired, differ=seen.differ, unfinished=seen.unfinished,
        suspended=participant.suspended_until > 0, suspended_until=participant.suspended_until,
        suspended_reason=participant.suspended_reason, convictions=participant.convictions,
        clean_epochs=participant.clean_epochs, open_disputes=len(open_disputes(ctx.view, participant.node)),
        excluded=_excluded(ctx, participant),
    )


def _excluded(ctx: Context, participant: Participant) -> str:
    """Why it serves nobody and when it returns, for people; empty when it is not excluded."""
    found, least = [], ctx.economy.collateral_min_micro
    if participant.convicted_until:
        found.append(
            f"excluded until height {participant.convicted_until}, because {participant.convicted_reason};"
            " returns with reputation 0"
        )
    if participant.collateral_micro < least:
        missing = least - participant.collateral_micro
        found.append(
            f"excluded until {missing} micro-credits are deposited, because its collateral is below {least}"
        )
    return "; ".join(found)
