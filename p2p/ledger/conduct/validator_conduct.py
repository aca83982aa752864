"""What validators did in this epoch, and what follows (rules J1 to J8 of README.md). Law: a bar and a conviction need an exact test.

Odd marks of one epoch against an honest rate (verification/duty.convicts). Over epochs, by the same sequential test as executors: duties that
they missed and others did (decision 033), faults that they called valid, and numbers that other weights explain better than other kernels
(decision 028). A bar lasts until
the end of the NEXT epoch: a barred one's word weighs nothing and it serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from p2p.ledger.conduct import convictions
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.state.committee import Panel
from p2p.ledger.state.records import Participant
from p2p.verification.duty import convicts
from p2p.verification.sequential import Detector, detection_milli, share_of_milli


def count_duties(ctx: Context, panel: Panel) -> None:
    """When a committee's work is over: J5. Who judged did its duty. Who was silent or could not get the payload missed it where more than half of
    the committee's weight judged; else it is nobody's fault: there may have been nothing that could be checked, or nobody was there, and
    neither an executor nor an outage may have validators barred."""
    judged = {verdict.validator for verdict in panel.judged}
    weights = voting_weights(ctx, panel.members)
    most = 2 * sum(weights[node] for node in judged) > sum(weights.values())
    for node in panel.members:
        if node in judged or most:
            _count_duty(ctx, node, drawn=panel.height, missed=node not in judged)


def _count_duty(ctx: Context, node: bytes, *, drawn: int, missed: bool) -> None:
    """drawn: height of the committee's draw. Misses of committees that were at work together have one cause, and count once in the test."""
    checks, standing, participant = ctx.checks, ctx.view.standing(node), ctx.view.participant(node)
    standing = replace(standing, duties=standing.duties + 1, missed=standing.missed + missed)
    if participant is None or (missed and drawn <= standing.missed_at):
        ctx.view.put_standing(node, standing)
        return
    absent, there = detection_milli(checks.honest_miss_ppm)
    present = standing.present.updated(absent if missed else there, checks.llr_cap_milli)
    log = present.reached(checks.conviction_milli) if missed and not participant.barred_until else None
    ctx.view.put_standing(node, replace(
        standing, missed_at=ctx.height if missed else standing.missed_at, present=present if log is None else Detector(),
    ))
    if log is not None:
        what = f"log e-value {log} of {checks.conviction_milli} thousandths of a nat for duties it missed and others did"
        _bar(ctx, participant, what)


def mark(ctx: Context, compared: Iterable[bytes], odd: frozenset[bytes]) -> None:
    """One inference's comparison of validators."""
    for node in sorted(compared):
        standing = ctx.view.standing(node)
        ctx.view.put_standing(node, replace(standing, compared=standing.compared + 1, outliers=standing.outliers + (node in odd)))
        if node in odd:  # the k-th odd one is the k-th look; what was not odd convicts nobody
            _judge_validator(ctx, node)


def count_detection(ctx: Context, seen: Iterable[bytes], blind: frozenset[bytes]) -> None:
    """J6: of an answer that does not stand: who saw it, and who looked away (compare.losers, without those whom its kernels excuse)."""
    checks = ctx.checks
    missed, saw = detection_milli(checks.honest_missed_fault_ppm)
    for node in sorted({*seen, *blind}):
        participant = ctx.view.participant(node)
        if participant is None:
            continue
        standing, miss = ctx.view.standing(node), node in blind
        detection = standing.detection.updated(missed if miss else saw, checks.llr_cap_milli)
        standing = replace(standing, faults=standing.faults + 1, missed_faults=standing.missed_faults + miss, detection=detection)
        ctx.view.put_standing(node, standing)
        if miss and not participant.convicted_until and (log := detection.reached(checks.conviction_milli)) is not None:
            reason = (
                f"epoch {ctx.epoch}: log e-value {log} of {checks.conviction_milli} thousandths of a nat for calling faults valid, "
                f"{standing.missed_faults} of {standing.faults} in it"
            )
            convictions.convict(ctx, participant, reason)


def count_distances(ctx: Context, honest_milli: int, found: Mapping[bytes, int]) -> None:
    """J7: numbers further from those of equal kernels than other kernels explain come of other weights. honest_milli: the model's, 0 = unknown."""
    checks = ctx.checks
    for node, distance in sorted(found.items() if honest_milli else ()):
        participant = ctx.view.participant(node)
        if participant is None:
            continue
        standing, ratio = ctx.view.standing(node), share_of_milli(distance, honest_milli, checks.llr_cap_milli)
        detector = standing.distance.updated(ratio, checks.llr_cap_milli)
        ctx.view.put_standing(node, replace(standing, distance=detector))
        if ratio > 0 and not participant.barred_until and (log := detector.reached(checks.conviction_milli)) is not None:
            what = f"log e-value {log} of {checks.conviction_milli} thousandths of a nat for numbers of other weights"
            _bar(ctx, participant, what)


def _bar(ctx: Context, participant: Participant, what: str) -> None:
    reason = f"epoch {ctx.epoch}: {what}"
    ctx.view.put_participant(replace(participant, barred_until=ctx.next_epoch_end, barred_reason=reason))


def _judge_validator(ctx: Context, node: bytes) -> None:
    standing, participant, checks = ctx.view.standing(node), ctx.view.participant(node), ctx.checks
    if participant is None or participant.barred_until:
        return
    if convicts(standing.outliers, standing.compared, checks.honest_outlier_ppm, checks.conviction_ppb):
        what = f"stood alone in {standing.outliers} of {standing.compared} comparisons"
        _bar(ctx, participant, what)
