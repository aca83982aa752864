"""What executors and agents did in this epoch, and what follows; its end, for all. Law: a conviction needs an exact test, and uses its evidence up;
counters begin anew with each epoch.

Executors: the sequential test (verification/sequential.py), which goes on over epochs; by Ville's inequality an honest one is convicted within K
epochs with probability at most K exp(-conviction_milli / 1000), K in a million by default, wherever one looks. Agents and executors: inferences
of which the two records differ, against an honest rate (verification/duty.convicts), until the end of the NEXT epoch. Validators: judges.py.

Nobody can tell which side of a pair is at fault, but executors are drawn at random: faults follow the one who makes them from partner to
partner. So what happens with one partner counts only as far as it could not convict alone. What a partner without weight says does not count at
all, and those that speak must hold more than a third of the weight: keys are free, and neither agents nor executors can have an honest one
suspended with less, however many inferences they send (decision 033).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import replace

from p2p.ledger.conduct import convictions, reputation
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted_weights, owner_weight
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.state.records import MAX_FINDERS, MAX_PARTNERS, Finder, Inference, Participant, Partner, Reputation, Standing
from p2p.ledger.state.view import View
from p2p.verification.duty import FULL, convicts
from p2p.verification.sequential import Detector, Evidence

MAX_ALONE = 64  # a bound of the search in `alone`


def count_finish(view: View, executor: bytes) -> None:
    """It worked in this epoch, whatever becomes of it: so its test goes on."""
    standing = view.standing(executor)
    view.put_standing(executor, replace(standing, finished=standing.finished + 1))


def count_booked(view: View, inference: Inference, *, checked: bool) -> None:
    """What earns its executor trust: an answer that was paid for by another, or one of a race. Counted where it is final: what is only finished
    comes back and would make rare checks, plants and reputation free. checked: validators found it true."""
    assert inference.finish is not None
    finish, model, served = inference.finish.record, inference.signed_request.request.model, not inference.in_sprint
    tokens = finish.generated if checked else 0
    standing = reputation.with_served(
        view.standing(finish.executor), model, finish.stack,
        lambda row: replace(row, booked=row.booked + served, checked_tokens=row.checked_tokens + tokens),
    )
    view.put_standing(finish.executor, replace(
        standing, booked=standing.booked + served, checked_tokens=standing.checked_tokens + tokens,
    ))


def count_checked(ctx: Context, inference: Inference, llr_milli: int | None, stands: bool) -> None:
    """A decided, checked inference of its executor for another's account. llr_milli: its weight in the sequential test. What speaks for the
    executor besides is counted when it is booked."""
    assert inference.finish is not None
    finish, standing = inference.finish.record, ctx.view.standing(inference.finish.record.executor)
    # A dispute was opened by high ratios: one that began in an earlier epoch was selected by its own evidence and would bias the product
    # that begins in this one. It belongs to those that had begun when its first committee spoke. While it is open, these lack a
    # factor which is above 1 in the mean, so they stand too low, never too high: the bound holds whenever one looks.
    # One that is older than the last epoch has no test any more; its verdict stands all the same.
    age, evidence = ctx.epoch - epoch_of(ctx.genesis, inference.dispute_height or ctx.height), standing.evidence
    if llr_milli is not None and age <= 1:
        by_lot = not inference.in_sprint and 0 < inference.sampled_milli < FULL
        evidence = evidence.updated(llr_milli, ctx.checks.llr_cap_milli, by_lot=by_lot, late=age == 1)
    ctx.view.put_standing(finish.executor, replace(standing, checked=standing.checked + 1, evidence=evidence))
    counters = ctx.view.counters()
    ctx.view.put_counters(replace(
        counters, honest=counters.honest + stands, false_alarms=counters.false_alarms + (stands and inference.dispute_height > 0),
        cheats=counters.cheats + (not stands),
    ))
    _judge_executor(ctx, finish.executor)


def strike(view: View, node: bytes) -> None:
    """An answer of `node` did not stand."""
    participant, standing = view.participant(node), view.standing(node)
    view.put_standing(node, replace(standing, struck=standing.struck + 1))
    if participant is not None:
        view.put_participant(replace(participant, reputations=(), strikes=participant.strikes + 1))


def _judge_executor(ctx: Context, node: bytes) -> None:
    standing, participant = ctx.view.standing(node), ctx.view.participant(node)
    limit, epoch = ctx.checks.conviction_milli, ctx.epoch
    if participant is None or participant.convicted_until:
        return
    log = standing.evidence.reached(limit)
    if log is not None:
        reason = f"epoch {epoch}: log e-value {log} of {limit} thousandths of a nat; {standing.checked} inferences were checked in it"
        convictions.convict(ctx, participant, reason)


def count_pair(ctx: Context, inference: Inference, *, differ: bool) -> None:
    """Both records of an inference were compared, or the agent's never came. Nobody stands to lose by its own inferences, so those of an
    agent or an executor with itself or its own client are no evidence, for or against."""
    assert inference.finish is not None
    sides = (inference.agent, inference.finish.record.executor)
    owners = [owner for node in sides if (owner := ctx.view.owner_of(node)) is not None]
    if len({*owners, inference.signed_request.request.account}) < 3:
        return
    checks = ctx.checks
    limit = alone(checks.honest_disagree_ppm, checks.conviction_ppb)
    silent = inference.output_hash is None
    for node, other in (sides, sides[::-1]):
        if not owner_weight(ctx, other):
            continue  # a key costs nothing: its word moves nobody's standing, for or against
        standing = ctx.view.standing(node)
        if silent and inference.finish_height <= standing.silent_at:
            continue  # of the same outage as the last one that was never confirmed
        if silent:
            standing = replace(standing, silent_at=ctx.height)
        before = _partner(ctx.view, standing, other)
        after = replace(before, differ=min(before.differ + differ, max(limit, before.differ)))
        ctx.view.put_standing(node, replace(standing, paired=standing.paired + 1, partners=_with(standing.partners, before, after)))
        if differ:  # the k-th that differs is the k-th look
            _judge_pairs(ctx, node)


def count_unfinished(ctx: Context, node: bytes, agent: bytes) -> None:
    """`node` should have finished an inference that `agent` started; the word of an agent without weight says nothing."""
    participant, standing, checks = ctx.view.participant(node), ctx.view.standing(node), ctx.checks
    if participant is None or not owner_weight(ctx, agent):
        return
    ctx.view.put_participant(replace(participant, misses=participant.misses + 1))
    before = _partner(ctx.view, standing, agent)
    limit = alone(checks.honest_miss_ppm, checks.conviction_ppb)
    after = replace(before, unfinished=min(before.unfinished + 1, max(limit, before.unfinished)))
    ctx.view.put_standing(node, replace(standing, partners=_with(standing.partners, before, after)))


def _partner(view: View, standing: Standing, node: bytes) -> Partner:
    """What is remembered of this partner; another key makes nobody another partner."""
    now = view.node_now(node)
    return next((p for p in standing.partners if view.node_now(p.node) == now), Partner(now))


def _with(partners: tuple[Partner, ...], before: Partner, after: Partner) -> tuple[Partner, ...]:
    """`before` replaced by `after`; a partner with nothing to remember, or one too many, is left out."""
    if before in partners:
        return tuple(after if partner == before else partner for partner in partners)
    return (*partners, after) if after != before and len(partners) < MAX_PARTNERS else partners


@lru_cache(maxsize=64)
def alone(rate_ppm: int, limit_ppb: int) -> int:
    """The most faults in a row that do not convict at this rate: as much as one partner's word counts. At least 1."""
    return next((count for count in range(1, MAX_ALONE) if convicts(count + 1, count + 1, rate_ppm, limit_ppb)), MAX_ALONE)


def _judge_pairs(ctx: Context, node: bytes) -> None:
    standing, participant, checks = ctx.view.standing(node), ctx.view.participant(node), ctx.checks
    if participant is None or participant.suspended_until:
        return
    behind = [partner.node for partner in standing.partners if partner.differ]
    if convicts(standing.differ, standing.paired, checks.honest_disagree_ppm, checks.conviction_ppb) and is_weighty(ctx, node, behind):
        reason = f"epoch {ctx.epoch}: the records differ in {standing.differ} of {standing.paired} inferences"
        ctx.view.put_participant(replace(participant, suspended_until=ctx.next_epoch_end, suspended_reason=reason))


def is_weighty(ctx: Context, node: bytes, behind: Iterable[bytes]) -> bool:
    """Whether those who speak against `node` hold more than a third of the weight that others than its owner have: as much as is needed to
    stop the chain. Fewer cannot have anybody suspended, whatever they do (decision 033)."""
    weights, owner = counted_weights(ctx), ctx.view.owner_of(node)
    others = sum(weight for other, weight in weights.items() if ctx.view.owner_of(other) != owner)
    return 3 * sum(weights.get(now, 0) for now in {ctx.view.node_now(other) for other in behind}) > others


def count_found(view: View, executor: bytes, finders: Iterable[bytes]) -> None:
    """An answer of `executor` did not stand, and these validators had said so."""
    standing = view.standing(executor)
    found = {finder.validator: finder.found for finder in standing.finders}
    for node in sorted(finders):
        if node in found or len(found) < MAX_FINDERS:
            found[node] = found.get(node, 0) + 1
    view.put_standing(executor, replace(standing, finders=tuple(Finder(node, found[node]) for node in sorted(found))))


def end_epoch(ctx: Context) -> None:
    """At an epoch's last height: reputations, the ends of bars and convictions, new counters."""
    for participant in ctx.view.participants():
        standing = ctx.view.standing(participant.node)
        clean = _is_clean(ctx, participant, standing)
        after = replace(
            convictions.after_epoch(participant, ctx.checks, clean=clean, struck=standing.struck > 0),
            reputations=_reputations(ctx, participant, standing),
            convicted_until=participant.convicted_until if participant.convicted_until > ctx.height else 0,
            barred_until=participant.barred_until if participant.barred_until > ctx.height else 0,
            suspended_until=participant.suspended_until if participant.suspended_until > ctx.height else 0,
        )
        if after != participant:
            ctx.view.put_participant(after)
        anew = _next_standing(participant, standing, ctx.height)
        if anew != standing:
            ctx.view.put_standing(participant.node, anew)


def _next_standing(participant: Participant, standing: Standing, height: int) -> Standing:
    """What goes on in the new epoch; what convicted is used up: nobody is convicted twice for it."""
    evidence, detection = Evidence(), Detector()
    if not participant.convicted_until:
        evidence = standing.evidence.after_epoch(begun=standing.finished > 0 or standing.checked > 0)
        detection = standing.detection.after_epoch(begun=standing.faults > 0)
    return Standing(
        evidence=evidence, detection=detection,
        distance=Detector() if participant.barred_until else standing.distance.after_epoch(begun=standing.compared > 0),
        served=reputation.next_served(standing), withheld_at=standing.withheld_at, missed_at=standing.missed_at,
        silent_at=standing.silent_at,
        watched_until=standing.watched_until if standing.watched_until > height else 0,
        shown=standing.shown.after_epoch(begun=standing.checked + standing.withheld > 0),
        present=standing.present.after_epoch(begun=standing.duties > 0),
    )


def _reputations(ctx: Context, participant: Participant, standing: Standing) -> tuple[Reputation, ...]:
    """After an epoch: none on conviction; half of each when too many inferences were never finished, by the exact test; a gain for what was
    checked enough, when nothing was found."""
    checks = ctx.checks
    if participant.convicted_until:
        return ()
    behind = [partner.node for partner in standing.partners if partner.unfinished]
    halved = is_weighty(ctx, participant.node, behind) and convicts(
        standing.unfinished, standing.booked + standing.unfinished, checks.honest_miss_ppm, checks.conviction_ppb
    )
    gain = checks.reputation_gain if _is_faultless(participant, standing) else 0
    return reputation.after_epoch(participant, standing, gain=gain, least_tokens=checks.min_checked_tokens, halved=halved)


def _is_clean(ctx: Context, participant: Participant, standing: Standing) -> bool:
    """Enough of its output was checked in the epoch, and nothing was found."""
    return standing.checked_tokens >= ctx.checks.min_checked_tokens and _is_faultless(participant, standing)


def _is_faultless(participant: Participant, standing: Standing) -> bool:
    return not standing.struck and not participant.suspended_until
