"""What validators did in this epoch, and what follows (rules J1 to J8 of README.md). Law: a bar and a conviction need
an exact test.

A validator is barred or convicted by four tests. One counts comparisons in which it was an outlier, within an epoch,
against an honest rate (verification/duty.convicts). Three are sequential and run over epochs, like the executors':
missed duties that others did (decision 033), faults that it called valid, and numbers that other weights explain better
than other kernels do (decision 028). A bar lasts until the end of the next epoch: the verdicts of a barred validator
weigh nothing, and it serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from p2p.ledger.conduct import convictions
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.state.committee import Committee
from p2p.ledger.state.records import Participant
from p2p.verification.duty import convicts
from p2p.verification.sequential import Detector, detection_milli, share_of_milli


def count_duties(ctx: Context, committee: Committee) -> None:
    """A committee's work is over (J5): count who did its duty.

    A member that judged did its duty. One that was silent, or could not get the payload, missed it where more than half
    of the committee's weight judged. Otherwise nobody missed it: there may have been nothing to check, and neither an
    executor nor an outage may get validators barred.
    """
    judged = {verdict.validator for verdict in committee.judged}
    weights = voting_weights(ctx, committee.members)
    most = 2 * sum(weights[node] for node in judged) > sum(weights.values())
    for node in committee.members:
        if node in judged or most:
            _count_duty(ctx, node, drawn=committee.height, missed=node not in judged)


def _count_duty(ctx: Context, node: bytes, *, drawn: int, missed: bool) -> None:
    """drawn: height of the committee's draw. Missed duties of committees that worked at the same time have one
    cause, so the test counts one."""
    checks, conduct, participant = ctx.checks, ctx.view.conduct(node), ctx.view.participant(node)
    conduct = replace(conduct, duties=conduct.duties + 1, missed=conduct.missed + missed)
    if participant is None or (missed and drawn <= conduct.missed_at):
        ctx.view.put_conduct(node, conduct)
        return
    absent, there = detection_milli(checks.honest_miss_ppm)
    present = conduct.present.updated(absent if missed else there, checks.llr_cap_milli)
    log = present.reached(checks.conviction_milli) if missed and not participant.barred_until else None
    ctx.view.put_conduct(node, replace(
        conduct, missed_at=ctx.height if missed else conduct.missed_at,
        present=present if log is None else Detector(),
    ))
    if log is not None:
        limit = checks.conviction_milli
        what = f"log e-value {log} of {limit} thousandths of a nat for duties it missed and others did"
        _bar(ctx, participant, what)


def count_outliers(ctx: Context, compared: Iterable[bytes], outliers: frozenset[bytes]) -> None:
    """The validators of one inference were compared; `outliers` among them broke one of J1 to J4 or J8."""
    for node in sorted(compared):
        conduct = ctx.view.conduct(node)
        ctx.view.put_conduct(node, replace(
            conduct, compared=conduct.compared + 1, outliers=conduct.outliers + (node in outliers),
        ))
        if node in outliers:  # the test looks once for each outlier: a comparison without one cannot convict
            _judge_outliers(ctx, node)


def count_detection(ctx: Context, seen: Iterable[bytes], missed: frozenset[bytes]) -> None:
    """An answer does not stand (J6). seen: who said so. missed: who called it valid, without those whose kernels
    could not show it (inferences/verdict_comparison.py)."""
    checks = ctx.checks
    miss_milli, hit_milli = detection_milli(checks.honest_missed_fault_ppm)
    for node in sorted({*seen, *missed}):
        participant = ctx.view.participant(node)
        if participant is None:
            continue
        conduct, miss = ctx.view.conduct(node), node in missed
        detection = conduct.detection.updated(miss_milli if miss else hit_milli, checks.llr_cap_milli)
        conduct = replace(
            conduct, faults=conduct.faults + 1, missed_faults=conduct.missed_faults + miss, detection=detection,
        )
        ctx.view.put_conduct(node, conduct)
        if miss and not participant.convicted_until and (log := detection.reached(checks.conviction_milli)) is not None:
            reason = (
                f"epoch {ctx.epoch}: log e-value {log} of {checks.conviction_milli} thousandths of a nat for calling "
                f"faults valid, {conduct.missed_faults} of {conduct.faults} in it"
            )
            convictions.convict(ctx, participant, reason)


def count_distances(ctx: Context, honest_milli: int, found: Mapping[bytes, int]) -> None:
    """The numbers of one inference's validators were compared with those of the equal kernels that hold the majority
    (J7).

    Numbers further away than other kernels explain come from other weights. found: node -> distance, thousandths of a
    nat. honest_milli: mean distance between honest kernels, as the model's spec states it, 0 = unknown: then nothing is
    counted.
    """
    checks = ctx.checks
    for node, distance in sorted(found.items() if honest_milli else ()):
        participant = ctx.view.participant(node)
        if participant is None:
            continue
        conduct, ratio = ctx.view.conduct(node), share_of_milli(distance, honest_milli, checks.llr_cap_milli)
        detector = conduct.distance.updated(ratio, checks.llr_cap_milli)
        ctx.view.put_conduct(node, replace(conduct, distance=detector))
        log = detector.reached(checks.conviction_milli) if ratio > 0 and not participant.barred_until else None
        if log is not None:
            what = f"log e-value {log} of {checks.conviction_milli} thousandths of a nat for numbers of other weights"
            _bar(ctx, participant, what)


def _bar(ctx: Context, participant: Participant, what: str) -> None:
    reason = f"epoch {ctx.epoch}: {what}"
    ctx.view.put_participant(replace(participant, barred_until=ctx.next_epoch_end, barred_reason=reason))


def _judge_outliers(ctx: Context, node: bytes) -> None:
    conduct, participant, checks = ctx.view.conduct(node), ctx.view.participant(node), ctx.checks
    if participant is None or participant.barred_until:
        return
    if convicts(conduct.outliers, conduct.compared, checks.honest_outlier_ppm, checks.conviction_ppb):
        what = f"stood alone in {conduct.outliers} of {conduct.compared} comparisons"
        _bar(ctx, participant, what)
