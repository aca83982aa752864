"""Reputation: how seldom a participant's answers are checked. Law: it is earned with one model on one stack and spares
checks of that pair only; one fault anywhere takes all of it.

So a participant cannot use it for another model or other kernels. The stack is the one that the FinishRecord names;
validators refuse an artifact that names another. Points are in Participant.reputations, the epoch's counters in
Conduct.served (decision 025).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p.ledger.conduct.kernels import is_shared
from p2p.ledger.rules.context import Context
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import MAX_REPUTATIONS, MAX_SERVED, Conduct, Participant, Reputation, Served
from p2p.ledger.state.view import View
from p2p.verification.duty import check_probability_milli

MAX_REPUTATION = 100  # points


def check_milli(ctx: Context, node: bytes, model: str, stack: str) -> int:
    """The probability that the next answer of `node` with this model on this stack is checked, in thousandths.
    Reputation does not help while one of its lost disputes is open, after an answer that no committee could get, or on
    kernels that nobody shares."""
    participant, conduct = ctx.view.participant(node), ctx.view.conduct(node)
    row, doubted = served(conduct, model, stack), bool(conduct.watched_until or open_disputes(ctx.view, node))
    doubted = doubted or not is_shared(ctx, node, model, stack)
    points = reputation(participant, model, stack) if participant and not doubted else 0
    return check_probability_milli(points, row.checked_tokens, row.booked_before, ctx.checks)


def reputation(participant: Participant, model: str, stack: str) -> int:
    """Points of this pair, 0 where there are none."""
    return next((row.points for row in participant.reputations if (row.model, row.stack) == (model, stack)), 0)


def served(conduct: Conduct, model: str, stack: str) -> Served:
    """The running epoch's counters of this pair."""
    return next((row for row in conduct.served if (row.model, row.stack) == (model, stack)), Served(model, stack))


def has_kernels(view: View, node: bytes, model: str, stack: str) -> bool:
    """Whether `node` is known to serve this model on this stack: answers were booked in this epoch or the last, or
    it has reputation for it."""
    participant, row = view.participant(node), served(view.conduct(node), model, stack)
    return bool(row.booked or row.booked_before or (participant and reputation(participant, model, stack)))


def with_served(conduct: Conduct, model: str, stack: str, change: Callable[[Served], Served]) -> Conduct:
    """`conduct` with one pair's counters changed. Beyond MAX_SERVED pairs nothing is counted, so those answers are
    always checked."""
    before = served(conduct, model, stack)
    others = tuple(row for row in conduct.served if row is not before)
    if len(others) >= MAX_SERVED:
        return conduct
    return replace(conduct, served=(*others, change(before)))


def after_epoch(
    participant: Participant, conduct: Conduct, *, gain: int, least_tokens: int, halved: bool
) -> tuple[Reputation, ...]:
    """The reputations at an epoch's end, sorted by model and stack; the MAX_REPUTATIONS highest.

    gain: points for each pair of which `least_tokens` output tokens were checked, 0 after a fault. halved: too many
    answers never came, so each is halved instead.
    """
    pairs = {(row.model, row.stack): row.points for row in participant.reputations}
    if halved:
        pairs = {pair: points // 2 for pair, points in pairs.items()}
    else:
        for row in conduct.served:
            if row.checked_tokens >= least_tokens:
                pair = row.model, row.stack
                pairs[pair] = min(MAX_REPUTATION, pairs.get(pair, 0) + gain)
    rows = [Reputation(model, stack, points) for (model, stack), points in sorted(pairs.items()) if points]
    best = sorted(rows, key=lambda row: -row.points)[:MAX_REPUTATIONS]
    return tuple(row for row in rows if row in best)


def next_served(conduct: Conduct) -> tuple[Served, ...]:
    """The new epoch's counters: only what was booked in the last one is remembered."""
    return tuple(Served(row.model, row.stack, booked_before=row.booked) for row in conduct.served if row.booked)
