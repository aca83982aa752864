"""An epoch's money, settled at its last height. Law: it is automatic and nothing is claimed; what division leaves over
is burnt or not minted, so the sums are exact.

A participant convicted in the epoch loses its fees, its part of the emission and a part of its collateral (M7, M10).
The others' fees are split between owner, validators and nobody (M8), and the emission goes by weight x work (M9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from p2p.base.genesis import EconomyRules
from p2p.ledger.conduct.convictions import convicted_this_epoch
from p2p.ledger.money import epoch_accounts
from p2p.ledger.money.accounts import credit
from p2p.ledger.money.collateral import at_stake, take
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import owner_weights
from p2p.ledger.state.records import Earning, Participant

MILLI = 1000
MAX_SUPPLY = 1 << 62  # micro-credits; a larger supply would not fit a balance's 63 bits on the wire


@dataclass(frozen=True, slots=True)
class _Settlement:
    """An epoch's books while they are settled."""

    ctx: Context
    known: Mapping[bytes, Participant]  # all participants, by key
    books: dict[bytes, Earning]  # by the key a node had when it earned; filled in step by step

    def earning(self, node: bytes) -> Earning:
        return self.books.get(node) or Earning(self.known[node].owner)


def settle(ctx: Context) -> None:
    """At the epoch's last height, before counters begin anew."""
    view, epoch = ctx.view, ctx.epoch
    assert epoch_accounts.sums(view, epoch).height == 0, "an epoch is settled once"
    known = {participant.node: participant for participant in view.participants()}
    convicted = {node for node, participant in known.items() if convicted_this_epoch(ctx, participant)}
    records = ((node, epoch_accounts.earning(view, epoch, node)) for node in epoch_accounts.earners(view, epoch))
    books = {node: record for node, record in records if record is not None}
    for node, record in books.items():
        if record.owner is None:  # it may have registered after the first booking
            books[node] = replace(record, owner=view.owner_of(node))
    for node in convicted - books.keys():
        books[node] = Earning(known[node].owner)
    booked = tuple(books.values())  # before anything is split or forfeited
    settlement, pool = _Settlement(ctx, known, books), 0
    for node in sorted(books):
        if view.node_now(node) in convicted:
            _forfeit(settlement, node)
        else:
            books[node], part = _split(books[node], ctx.economy)
            pool += part
    _share_pool(settlement, pool)
    _emit(settlement)
    _write(settlement, booked)


def _split(record: Earning, rules: EconomyRules) -> tuple[Earning, int]:
    """M8: (the record with the owner's part of the fees, the validators' part).

    The part of an owner that is gone is burnt, and so are fees forfeited by fines (M16). Of what is held back for
    kernels that nobody shares (M20) the validators have their part, since such answers are all checked.
    """
    fined = min(record.fined_micro, record.fees_micro)
    fees = record.fees_micro - fined
    burnt = fees * rules.burn_share_milli // MILLI
    validators = min(fees * rules.validator_share_milli // MILLI, fees - burnt)
    held = min(record.unshared_micro, fees)
    paid = (fees - burnt - validators) * (fees - held) // fees if record.owner is not None and fees else 0
    return replace(record, paid_micro=paid, forfeited_micro=fined, unshared_micro=held), validators


def _forfeit(settlement: _Settlement, node: bytes) -> None:
    """M7, M10: take all fees and a share of the collateral; a bounty of both goes to the validators that found it."""
    view, known, rules = settlement.ctx.view, settlement.known, settlement.ctx.economy
    record, slashed = settlement.books[node], 0
    if node in known:  # by its current key, so once
        slashed = take(view, node, at_stake(known[node]) * rules.slash_milli // MILLI)
    settlement.books[node] = replace(record, forfeited_micro=record.fees_micro, slashed_micro=slashed)
    bounty = (record.fees_micro + slashed) * rules.bounty_milli // MILLI
    finders: dict[bytes, int] = {}
    for finder in view.conduct(node).finders:
        now = view.node_now(finder.validator)
        if _is_in_good_standing(known.get(now)):
            finders[now] = finders.get(now, 0) + finder.found
    for found_it, amount in shares(bounty, finders).items():
        before = settlement.earning(found_it)
        settlement.books[found_it] = replace(before, bounty_micro=before.bounty_micro + amount)


def _share_pool(settlement: _Settlement, pool: int) -> None:
    """M8, M17: share the validators' part of the fees by duties done in the epoch.

    Each duty in which a validator was an outlier takes `outlier_duties` others with it.
    """
    good = [node for node, participant in settlement.known.items() if _is_in_good_standing(participant)]
    seen = {node: settlement.ctx.view.conduct(node) for node in good}
    each = settlement.ctx.economy.outlier_duties
    done = {node: conduct.duties - conduct.missed for node, conduct in seen.items()}
    points = {node: max(0, count - each * seen[node].outliers) for node, count in done.items()}
    paid = shares(pool, points)
    for node, whole in shares(pool, done).items():
        amount = paid.get(node, 0)
        settlement.books[node] = replace(
            settlement.earning(node), duties_micro=amount, withheld_micro=max(0, whole - amount),
        )


def _emit(settlement: _Settlement) -> None:
    """M9: share the emission by counted weight x work, among participants in good standing.

    The work of a key that was given up is its successor's. None has more than emission_cap_milli of its fees: a fee
    that an owner pays to itself loses as much in the split (M8).
    """
    view, known, books = settlement.ctx.view, settlement.known, settlement.books
    rules, minted = settlement.ctx.economy, view.totals().minted_micro
    weights = owner_weights(settlement.ctx, known.values())
    points = {}
    for node, record in books.items():
        now = view.node_now(node)
        if now in known and _is_in_good_standing(known[now]) and not known[now].suspended_until:
            points[node] = weights[now] * record.work
    for node, amount in shares(min(rules.emission_micro, max(MAX_SUPPLY - minted, 0)), points).items():
        earned = books[node].fees_micro - books[node].forfeited_micro - books[node].unshared_micro
        books[node] = replace(books[node], reward_micro=min(amount, earned * rules.emission_cap_milli // MILLI))


def _is_in_good_standing(participant: Participant | None) -> bool:
    return participant is not None and not participant.barred_until and not participant.convicted_until


def shares(amount: int, points: Mapping[bytes, int]) -> dict[bytes, int]:
    """`amount` by points, each rounded down; nodes without points are left out."""
    total = sum(points.values())
    if total <= 0:
        return {}
    return {node: amount * points[node] // total for node in sorted(points) if points[node] > 0}


def _write(settlement: _Settlement, booked: tuple[Earning, ...]) -> None:
    """Credit the owners, burn what is left over, and keep the epoch's sums."""
    ctx, books = settlement.ctx, settlement.books
    view, epoch = ctx.view, ctx.epoch
    for node in sorted(books):
        record = books[node]
        income = record.paid_micro + record.reward_micro + record.duties_micro + record.bounty_micro
        if income and record.owner is not None:
            credit(view, record.owner, income)
        if record != epoch_accounts.earning(view, epoch, node):
            epoch_accounts.put_earning(view, epoch, node, record)
    rows, fees = list(books.values()), sum(record.fees_micro for record in booked)
    paid, duties = sum(r.paid_micro for r in rows), sum(r.duties_micro for r in rows)
    bounty, slashed = sum(r.bounty_micro for r in rows), sum(r.slashed_micro for r in rows)
    minted, burnt = sum(r.reward_micro for r in rows), fees + slashed - paid - duties - bounty
    totals, before = view.totals(), epoch_accounts.sums(view, epoch)
    view.put_totals(replace(
        totals, minted_micro=totals.minted_micro + minted, burnt_micro=totals.burnt_micro + burnt,
        due_micro=totals.due_micro - fees,
    ))
    epoch_accounts.put_sums(view, epoch, replace(
        before, height=ctx.height, minted_micro=minted, fees_micro=fees, slashed_micro=slashed, paid_micro=paid,
        duties_micro=duties, bounty_micro=bounty, burnt_micro=before.burnt_micro + burnt,
        forfeited_micro=sum(r.forfeited_micro for r in rows),
        work=min(sum(record.work for record in booked), epoch_accounts.MAX_SUM),
        inferences=sum(record.inferences for record in booked),
    ))
