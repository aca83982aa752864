"""An epoch's money at its last height. Law: automatic, nothing is claimed; whatever division leaves over is burnt or not minted, so sums are exact.

Who is convicted in the epoch loses its fees, its part of the emission and a part of its collateral (M7, M10); the others' fees are split
between owner, validators and nobody (M8), and the emission goes by weight x work (M9).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from p2p.base.genesis import EconomyRules
from p2p.ledger.conduct.convictions import convicted_this_epoch
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.accounts import credit
from p2p.ledger.money.collateral import at_stake, take
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import owner_weights
from p2p.ledger.state.records import Earning, Participant
from p2p.ledger.state.view import View

MILLI = 1000
MAX_SUPPLY = 1 << 62  # what is minted beyond would not fit a balance's place on the wire


def settle(ctx: Context) -> None:
    """At the epoch's last height, before counters begin anew."""
    epoch, rules = ctx.epoch, ctx.economy
    assert earnings.sums(ctx.view, epoch).height == 0, "an epoch is settled once"
    known = {participant.node: participant for participant in ctx.view.participants()}
    convicted = {node for node, participant in known.items() if convicted_this_epoch(ctx, participant)}
    books = {node: record for node in earnings.earners(ctx.view, epoch) if (record := earnings.earning(ctx.view, epoch, node)) is not None}
    for node, record in books.items():
        if record.owner is None:  # it may have registered after the first booking
            books[node] = replace(record, owner=ctx.view.owner_of(node))
    for node in convicted - books.keys():
        books[node] = Earning(known[node].owner)
    fees, work = sum(b.fees_micro for b in books.values()), min(sum(b.work for b in books.values()), earnings.MAX_SUM)
    inferences = sum(b.inferences for b in books.values())
    pool = 0
    for node in sorted(books):
        if ctx.view.node_now(node) in convicted:
            _forfeit(ctx.view, known, books, node, rules)
        else:
            books[node], part = _split(books[node], rules)
            pool += part
    _share_pool(ctx, known, books, pool)
    _emit(ctx, known, books)
    _write(ctx, books, fees, work, inferences)


def _split(record: Earning, rules: EconomyRules) -> tuple[Earning, int]:
    """(the record with the owner's part of the fees, the validators' part). Where there is no owner any more, its part is burnt; so are
    fees forfeited by fines (M16)."""
    fined = min(record.fined_micro, record.fees_micro)
    fees = record.fees_micro - fined
    burnt = fees * rules.burn_share_milli // MILLI
    validators = min(fees * rules.validator_share_milli // MILLI, fees - burnt)
    return replace(record, paid_micro=fees - burnt - validators if record.owner is not None else 0, forfeited_micro=fined), validators


def _forfeit(view: View, known: Mapping[bytes, Participant], books: dict[bytes, Earning], node: bytes, rules: EconomyRules) -> None:
    """All fees and a share of the collateral; of both, the bounty to who found it."""
    record = books[node]
    slashed = take(view, node, at_stake(known[node]) * rules.slash_milli // MILLI) if node in known else 0  # by its key of now: once
    books[node] = replace(record, forfeited_micro=record.fees_micro, slashed_micro=slashed)
    bounty = (record.fees_micro + slashed) * rules.bounty_milli // MILLI
    finders: dict[bytes, int] = {}
    for finder in view.standing(node).finders:
        now = view.node_now(finder.validator)
        if _judges(known.get(now)):
            finders[now] = finders.get(now, 0) + finder.found
    for found_it, amount in shares(bounty, finders).items():
        before = books.get(found_it) or Earning(known[found_it].owner)
        books[found_it] = replace(before, bounty_micro=before.bounty_micro + amount)


def _share_pool(ctx: Context, known: Mapping[bytes, Participant], books: dict[bytes, Earning], pool: int) -> None:
    """The validators' part of the fees, by duties done in the epoch; each in which one stood alone takes outlier_duties others with it (M17)."""
    seen = {node: ctx.view.standing(node) for node, participant in known.items() if _judges(participant)}
    each = ctx.economy.outlier_duties
    done = {node: standing.duties - standing.missed for node, standing in seen.items()}
    points = {node: max(0, count - each * seen[node].outliers) for node, count in done.items()}
    paid = shares(pool, points)
    for node, whole in shares(pool, done).items():
        before, amount = books.get(node) or Earning(known[node].owner), paid.get(node, 0)
        books[node] = replace(before, duties_micro=amount, withheld_micro=max(0, whole - amount))


def _emit(ctx: Context, known: Mapping[bytes, Participant], books: dict[bytes, Earning]) -> None:
    """The emission by counted weight x work over participants in good standing; work of a key that was given up is its successor's. None has
    more than emission_cap_milli of its fees: who pays such a fee to itself loses as much of it in the split (M8)."""
    rules, minted = ctx.economy, ctx.view.totals().minted_micro
    weights = owner_weights(ctx, known.values())
    points = {
        node: weights[now] * record.work for node, record in books.items()
        if (now := ctx.view.node_now(node)) in known and _judges(known[now]) and not known[now].suspended_until
    }
    for node, amount in shares(min(rules.emission_micro, max(MAX_SUPPLY - minted, 0)), points).items():
        earned = books[node].fees_micro - books[node].forfeited_micro
        books[node] = replace(books[node], reward_micro=min(amount, earned * rules.emission_cap_milli // MILLI))


def _judges(participant: Participant | None) -> bool:
    return participant is not None and not participant.barred_until and not participant.convicted_until


def shares(amount: int, points: Mapping[bytes, int]) -> dict[bytes, int]:
    """`amount` by points, rounded down; nothing for nobody."""
    total = sum(points.values())
    return {node: amount * points[node] // total for node in sorted(points) if points[node] > 0} if total > 0 else {}


def _write(ctx: Context, books: Mapping[bytes, Earning], fees: int, work: int, inferences: int) -> None:
    """Credit the owners, burn what is left, keep the sums."""
    epoch = ctx.epoch
    for node in sorted(books):
        record = books[node]
        income = record.paid_micro + record.reward_micro + record.duties_micro + record.bounty_micro
        if income and record.owner is not None:
            credit(ctx.view, record.owner, income)
        if record != earnings.earning(ctx.view, epoch, node):
            earnings.put_earning(ctx.view, epoch, node, record)
    rows = list(books.values())
    paid, duties, bounty = sum(r.paid_micro for r in rows), sum(r.duties_micro for r in rows), sum(r.bounty_micro for r in rows)
    slashed, minted = sum(r.slashed_micro for r in rows), sum(r.reward_micro for r in rows)
    burnt = fees + slashed - paid - duties - bounty
    totals, before = ctx.view.totals(), earnings.sums(ctx.view, epoch)
    ctx.view.put_totals(replace(
        totals, minted_micro=totals.minted_micro + minted, burnt_micro=totals.burnt_micro + burnt, due_micro=totals.due_micro - fees,
    ))
    earnings.put_sums(ctx.view, epoch, replace(
        before, height=ctx.height, minted_micro=minted, fees_micro=fees, slashed_micro=slashed, paid_micro=paid, duties_micro=duties,
        bounty_micro=bounty, burnt_micro=before.burnt_micro + burnt, forfeited_micro=sum(r.forfeited_micro for r in rows), work=work,
        inferences=inferences,
    ))
