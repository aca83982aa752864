"""What the end of a block does by itself: deadlines, committees, blame, epochs, prices. Law: it touches only what is
indexed for this height.

An order that matters: registrations and leaves come before anything that counts participants or draws from them; votes
on rules and new weights come last, so that everything of the old epoch is settled by the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from p2p.base.resumable import Resumable, run_to_end
from p2p.base.serving_limits import SESSION_HEIGHTS
from p2p.base.types import Status
from p2p.ledger import governance
from p2p.ledger.conduct import executor_conduct
from p2p.ledger.inferences import committees, planted_faults
from p2p.ledger.inferences.pruning import Left, prune
from p2p.ledger.money import collateral, epoch_settlement, outcomes
from p2p.ledger.money.price import move_prices
from p2p.ledger.participants import registry, sprint, weights
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.participants.serving import keep_serving
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.inference_entry import InferenceEntry

BEACONS_KEPT = SESSION_HEIGHTS + 256  # heights; a session names one of so long before its draw, plus DRAW_WINDOW
_TAGGED: Final[Mapping[bytes, Callable[[Context, bytes], None]]] = MappingProxyType({  # tag of a due id -> its action
    keys.DUE_WITHDRAWAL: collateral.pay_back, keys.DUE_LEAVE: registry.leave, keys.DUE_PROPOSAL: governance.close,
})
_AT_WORK = (Status.VALIDATING.value, Status.REVEALING.value, Status.DISPUTED.value, Status.APPEALED.value)


def end_of_block(ctx: Context, beacon: bytes) -> tuple[Left, ...]:
    """After the records of a block: keep its beacon, act on what is due, end the epoch at its last height.

    Returns the inferences that left the state.
    """
    return run_to_end(end_of_block_resumably(ctx, beacon))


def end_of_block_resumably(ctx: Context, beacon: bytes) -> Resumable[tuple[Left, ...]]:
    """`end_of_block` in steps: one for each id that is due, then one for each part of the end."""
    ctx.view.put(keys.beacon(ctx.height), beacon)
    if ctx.height > BEACONS_KEPT:
        ctx.view.put(keys.beacon(ctx.height - BEACONS_KEPT), None)
    for due in dict.fromkeys(ctx.view.ids(keys.due(ctx.height))):
        _act_on(ctx, due)
        yield
    ctx.view.put(keys.due(ctx.height), None)
    registry.make_room(ctx)
    yield
    sprint.keep_beacon(ctx, beacon)
    if ctx.ends_epoch:
        epoch_settlement.settle(ctx)
        yield
        executor_conduct.end_epoch(ctx)
        yield
    left = prune(ctx)
    yield
    move_prices(ctx, serving)
    if ctx.ends_epoch:
        governance.end_epoch(ctx)
        weights.begin_epoch(ctx.view)
    keep_serving(ctx)  # what the next draws see
    return left


def _act_on(ctx: Context, due: bytes) -> None:
    """due: a tag and 32 bytes, or an inference's id."""
    tag, subject = due[: -keys.ID_BYTES], due[-keys.ID_BYTES :]
    if tag == keys.DUE_BEFORE_START:
        ctx.view.put(keys.before_start(subject), None)
    elif tag == keys.DUE_PLANT:
        planted_faults.forget(ctx.view, subject)
    elif tag in _TAGGED:
        _TAGGED[tag](ctx, subject)
    elif (entry := ctx.entry(due)) is not None:
        _move_on(ctx, entry)


def _move_on(ctx: Context, entry: InferenceEntry) -> None:
    """A deadline or window of this inference ends here."""
    inference = entry.inference
    if inference.status == Status.STARTED.value:
        outcomes.expire(ctx, entry)
    elif inference.status == Status.FINISHED.value and inference.outcome:
        outcomes.stand(ctx, entry, Status(inference.outcome), inference.reason)
    elif inference.status == Status.FINISHED.value:
        committees.draw(ctx, entry)
    elif inference.status == Status.APPEALABLE.value:
        committees.appealable(ctx, entry)
    elif inference.status in _AT_WORK:
        committees.step(ctx, entry)
    elif inference.blame_height == ctx.height and inference.finish is not None:  # no planted fault was revealed
        executor_conduct.strike(ctx.view, entry.executor)
        ctx.save(entry.changed(blame_height=0))
