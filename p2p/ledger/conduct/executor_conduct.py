"""What executors and agents did in this epoch, and what follows; for all participants, the end of the epoch. Law: a
conviction needs an exact test and uses up its evidence; counters begin at zero in every epoch.

Executors are convicted by a sequential test over epochs (verification/sequential.py). By Ville's inequality an honest
one is convicted within K epochs with probability at most K exp(-conviction_milli / 1000), by default K in a million,
however often one looks. Agents and executors are suspended until the end of the next epoch when the records of too many
pairs differ, against an honest rate (verification/duty.convicts). Validators: validator_conduct.py.

Nobody can tell which side of a pair is at fault. But executors are drawn at random, so faults follow the node that
causes them from partner to partner. Therefore the faults with one partner count only as far as they could not convict
alone; those with a partner without weight count for nothing; and the accusers must hold more than a third of the
weight. Node keys are free, and so neither agents nor executors with less weight can have an honest node suspended,
however many inferences they send (decision 033).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import replace

from p2p.ledger.conduct import convictions, reputation
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted_weights, owner_weight
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.state.records import (
    MAX_FINDERS,
    MAX_PARTNERS,
    Conduct,
    Finder,
    Inference,
    Participant,
    Partner,
    Reputation,
)
from p2p.ledger.state.view import View
from p2p.verification.duty import FULL, convicts
from p2p.verification.sequential import Detector, Evidence

MAX_OF_ONE_PARTNER = 64  # where the search in `most_of_one_partner` ends


def count_finish(view: View, executor: bytes) -> None:
    """The executor finished an inference, so its sequential test begins a product in this epoch, whatever becomes of
    the answer."""
    conduct = view.conduct(executor)
    view.put_conduct(executor, replace(conduct, finished=conduct.finished + 1))


def count_booked(view: View, inference: Inference, *, checked: bool) -> None:
    """An answer counts for its executor's reputation: another account paid for it, or it is of a sprint. checked:
    validators found it true.

    It is counted when it is final: a finish alone may be refunded, and would make rare checks, planted faults and
    reputation free (decision 034).
    """
    assert inference.finish is not None
    finish, model, served = inference.finish.record, inference.signed_request.request.model, not inference.in_sprint
    tokens = finish.generated if checked else 0
    conduct = reputation.with_served(
        view.conduct(finish.executor), model, finish.stack,
        lambda row: replace(row, booked=row.booked + served, checked_tokens=row.checked_tokens + tokens),
    )
    view.put_conduct(finish.executor, replace(
        conduct, booked=conduct.booked + served, checked_tokens=conduct.checked_tokens + tokens,
    ))


def count_checked(ctx: Context, inference: Inference, llr_milli: int | None, stands: bool) -> None:
    """A checked inference is decided, of another account than the executor's owner. llr_milli: its log-likelihood
    ratio for the sequential test, thousandths of a nat, None where nobody measured. What it does for reputation is
    counted when it is booked."""
    assert inference.finish is not None
    finish, conduct = inference.finish.record, ctx.view.conduct(inference.finish.record.executor)
    # High ratios open a dispute, so one that began in the last epoch was selected by its own evidence and would bias
    # the product that begins in this epoch. It counts in the products that had begun when its first committee spoke.
    # While it is open these lack a factor that is above 1 in the mean: they are too low, never too high, and the bound
    # holds. A dispute from before the last epoch has no such products any more.
    age, evidence = ctx.epoch - epoch_of(ctx.genesis, inference.dispute_height or ctx.height), conduct.evidence
    if llr_milli is not None and age <= 1:
        by_lot = not inference.in_sprint and 0 < inference.sampled_milli < FULL
        evidence = evidence.updated(llr_milli, ctx.checks.llr_cap_milli, by_lot=by_lot, late=age == 1)
    ctx.view.put_conduct(finish.executor, replace(conduct, checked=conduct.checked + 1, evidence=evidence))
    counters = ctx.view.counters()
    ctx.view.put_counters(replace(
        counters, honest=counters.honest + stands, cheats=counters.cheats + (not stands),
        false_alarms=counters.false_alarms + (stands and inference.dispute_height > 0),
    ))
    _judge_executor(ctx, finish.executor)


def strike(view: View, node: bytes) -> None:
    """An answer of `node` did not stand: its reputation is gone."""
    participant, conduct = view.participant(node), view.conduct(node)
    view.put_conduct(node, replace(conduct, struck=conduct.struck + 1))
    if participant is not None:
        view.put_participant(replace(participant, reputations=(), strikes=participant.strikes + 1))


def _judge_executor(ctx: Context, node: bytes) -> None:
    conduct, participant = ctx.view.conduct(node), ctx.view.participant(node)
    limit, epoch = ctx.checks.conviction_milli, ctx.epoch
    if participant is None or participant.convicted_until:
        return
    log = conduct.evidence.reached(limit)
    if log is not None:
        reason = (
            f"epoch {epoch}: log e-value {log} of {limit} thousandths of a nat; {conduct.checked} inferences were "
            "checked in it"
        )
        convictions.convict(ctx, participant, reason)


def count_pair(ctx: Context, inference: Inference, *, differ: bool) -> None:
    """The records of agent and executor about an inference were compared, or the agent's never came (M6). differ: they
    do not agree.

    Agent, executor and client must have three owners: nobody's inferences with itself are evidence for or against it.
    """
    assert inference.finish is not None
    sides = (inference.agent, inference.finish.record.executor)
    owners = [owner for node in sides if (owner := ctx.view.owner_of(node)) is not None]
    if len({*owners, inference.signed_request.request.account}) < 3:
        return
    checks = ctx.checks
    limit = most_of_one_partner(checks.honest_disagree_ppm, checks.conviction_ppb)
    silent = inference.output_hash is None
    for node, other in (sides, sides[::-1]):
        if not owner_weight(ctx, other):
            continue  # a key costs nothing, so its word counts neither for nor against anybody
        conduct = ctx.view.conduct(node)
        if silent and inference.finish_height <= conduct.silent_at:
            continue  # the same outage as the last answer that was never confirmed
        if silent:
            conduct = replace(conduct, silent_at=ctx.height)
        before = _partner(ctx.view, conduct, other)
        after = replace(before, differ=min(before.differ + differ, max(limit, before.differ)))
        ctx.view.put_conduct(node, replace(
            conduct, paired=conduct.paired + 1, partners=_with(conduct.partners, before, after),
        ))
        if differ:  # the test looks once for each pair that differs
            _judge_pairs(ctx, node)


def count_unfinished(ctx: Context, node: bytes, agent: bytes) -> None:
    """`node` did not finish an inference that `agent` started (M4). Nothing is counted where the agent has no
    weight."""
    participant, conduct, checks = ctx.view.participant(node), ctx.view.conduct(node), ctx.checks
    if participant is None or not owner_weight(ctx, agent):
        return
    ctx.view.put_participant(replace(participant, misses=participant.misses + 1))
    before = _partner(ctx.view, conduct, agent)
    limit = most_of_one_partner(checks.honest_miss_ppm, checks.conviction_ppb)
    after = replace(before, unfinished=min(before.unfinished + 1, max(limit, before.unfinished)))
    ctx.view.put_conduct(node, replace(conduct, partners=_with(conduct.partners, before, after)))


def _partner(view: View, conduct: Conduct, node: bytes) -> Partner:
    """What `conduct` counts against this partner, whatever keys it had."""
    now = view.node_now(node)
    return next((p for p in conduct.partners if view.node_now(p.node) == now), Partner(now))


def _with(partners: tuple[Partner, ...], before: Partner, after: Partner) -> tuple[Partner, ...]:
    """`partners` with `after` in place of `before`. A new partner without faults is not added, nor one beyond
    MAX_PARTNERS."""
    if before in partners:
        return tuple(after if partner == before else partner for partner in partners)
    return (*partners, after) if after != before and len(partners) < MAX_PARTNERS else partners


@lru_cache(maxsize=64)
def most_of_one_partner(rate_ppm: int, limit_ppb: int) -> int:
    """How many faults with one partner count: as many in a row as do not convict at this honest rate. At least 1.

    rate_ppm: faults of an honest node in a million inferences. limit_ppb: probability of a false conviction, in a
    billion.
    """
    counts = range(1, MAX_OF_ONE_PARTNER)
    return next((n for n in counts if convicts(n + 1, n + 1, rate_ppm, limit_ppb)), MAX_OF_ONE_PARTNER)


def _judge_pairs(ctx: Context, node: bytes) -> None:
    conduct, participant, checks = ctx.view.conduct(node), ctx.view.participant(node), ctx.checks
    if participant is None or participant.suspended_until:
        return
    accusers = [partner.node for partner in conduct.partners if partner.differ]
    convicted = convicts(conduct.differ, conduct.paired, checks.honest_disagree_ppm, checks.conviction_ppb)
    if convicted and is_weighty(ctx, node, accusers):
        reason = f"epoch {ctx.epoch}: the records differ in {conduct.differ} of {conduct.paired} inferences"
        ctx.view.put_participant(replace(participant, suspended_until=ctx.next_epoch_end, suspended_reason=reason))


def is_weighty(ctx: Context, node: bytes, accusers: Iterable[bytes]) -> bool:
    """Whether the accusers of `node` hold more than a third of the weight that owners other than its own have. A
    third is what it takes to stop the chain; accusers with less cannot have anybody suspended (decision 033)."""
    weights, owner = counted_weights(ctx), ctx.view.owner_of(node)
    others = sum(weight for other, weight in weights.items() if ctx.view.owner_of(other) != owner)
    return 3 * sum(weights.get(now, 0) for now in {ctx.view.node_now(other) for other in accusers}) > others


def count_found(view: View, executor: bytes, finders: Iterable[bytes]) -> None:
    """An answer of `executor` did not stand. finders: the validators that said so; they share the bounty (M10)."""
    conduct = view.conduct(executor)
    found = {finder.validator: finder.found for finder in conduct.finders}
    for node in sorted(finders):
        if node in found or len(found) < MAX_FINDERS:
            found[node] = found.get(node, 0) + 1
    view.put_conduct(executor, replace(conduct, finders=tuple(Finder(node, found[node]) for node in sorted(found))))


def end_epoch(ctx: Context) -> None:
    """At an epoch's last height: give reputation, end exclusions that are over, and begin new counters."""
    for participant in ctx.view.participants():
        conduct = ctx.view.conduct(participant.node)
        clean = _is_clean(ctx, participant, conduct)
        after = replace(
            convictions.after_epoch(participant, ctx.checks, clean=clean, struck=conduct.struck > 0),
            reputations=_reputations(ctx, participant, conduct),
            convicted_until=participant.convicted_until if participant.convicted_until > ctx.height else 0,
            barred_until=participant.barred_until if participant.barred_until > ctx.height else 0,
            suspended_until=participant.suspended_until if participant.suspended_until > ctx.height else 0,
        )
        if after != participant:
            ctx.view.put_participant(after)
        anew = _next_conduct(participant, conduct, ctx.height)
        if anew != conduct:
            ctx.view.put_conduct(participant.node, anew)


def _next_conduct(participant: Participant, conduct: Conduct, height: int) -> Conduct:
    """The counters with which the next epoch begins. Evidence that convicted or barred the participant is used up:
    it does so once."""
    evidence, detection = Evidence(), Detector()
    if not participant.convicted_until:
        evidence = conduct.evidence.after_epoch(begun=conduct.finished > 0 or conduct.checked > 0)
        detection = conduct.detection.after_epoch(begun=conduct.faults > 0)
    return Conduct(
        evidence=evidence, detection=detection,
        distance=Detector() if participant.barred_until else conduct.distance.after_epoch(begun=conduct.compared > 0),
        served=reputation.next_served(conduct), withheld_at=conduct.withheld_at, missed_at=conduct.missed_at,
        silent_at=conduct.silent_at,
        watched_until=conduct.watched_until if conduct.watched_until > height else 0,
        shown=conduct.shown.after_epoch(begun=conduct.checked + conduct.withheld > 0),
        present=conduct.present.after_epoch(begun=conduct.duties > 0),
    )


def _reputations(ctx: Context, participant: Participant, conduct: Conduct) -> tuple[Reputation, ...]:
    """After an epoch: none after a conviction; half where too many inferences were never finished, by the exact
    test; otherwise a gain for every pair that was checked enough, unless a fault was found."""
    checks = ctx.checks
    if participant.convicted_until:
        return ()
    accusers = [partner.node for partner in conduct.partners if partner.unfinished]
    # without accusers nobody is asked for their weight, which costs as much as there are participants
    halved = bool(accusers) and is_weighty(ctx, participant.node, accusers) and convicts(
        conduct.unfinished, conduct.booked + conduct.unfinished, checks.honest_miss_ppm, checks.conviction_ppb
    )
    gain = checks.reputation_gain if _is_faultless(participant, conduct) else 0
    least = checks.min_checked_tokens
    return reputation.after_epoch(participant, conduct, gain=gain, least_tokens=least, halved=halved)


def _is_clean(ctx: Context, participant: Participant, conduct: Conduct) -> bool:
    """Whether enough of its output was checked in the epoch, and no fault was found."""
    return conduct.checked_tokens >= ctx.checks.min_checked_tokens and _is_faultless(participant, conduct)


def _is_faultless(participant: Participant, conduct: Conduct) -> bool:
    return not conduct.struck and not participant.suspended_until
