"""What happens at a height by itself: deadlines, committees, blame, epochs, prices. Law: only ids indexed for this height are touched."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.resumable import Resumable, run_to_end
from p2p.base.types import Status
from p2p.ledger import governance
from p2p.ledger.conduct import executor_conduct as standing
from p2p.ledger.inferences import committees as panels
from p2p.ledger.inferences import planted_faults as plants
from p2p.ledger.inferences.pruning import Left, prune
from p2p.ledger.money import collateral, outcomes
from p2p.ledger.money import epoch_settlement as epochs
from p2p.ledger.money.price import move_prices
from p2p.ledger.participants import registry, sprint, weights
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.participants.serving import keep_serving
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys

BEACONS_KEPT = 256  # a draw names one of at most DRAW_WINDOW heights ago
_TAGGED = {  # tag of a due id -> what acts on it
    keys.DUE_WITHDRAWAL: collateral.pay_back, keys.DUE_LEAVE: registry.leave, keys.DUE_PROPOSAL: governance.close,
}
_AT_WORK = (Status.VALIDATING.value, Status.REVEALING.value, Status.DISPUTED.value, Status.APPEALED.value)


def end_of_block(ctx: Context, beacon: bytes) -> tuple[Left, ...]:
    """After the records of block `height`: keep its beacon, act on what is due, end the epoch at its last height. Returns what left the state."""
    return run_to_end(end_of_block_resumably(ctx, beacon))


def end_of_block_resumably(ctx: Context, beacon: bytes) -> Resumable[tuple[Left, ...]]:
    """`end_of_block`: a step for each id that is due, then one for each thing that a height does."""
    ctx.view.put(keys.beacon(ctx.height), beacon)
    if ctx.height > BEACONS_KEPT:
        ctx.view.put(keys.beacon(ctx.height - BEACONS_KEPT), None)
    for due in dict.fromkeys(ctx.view.ids(keys.due(ctx.height))):
        tag, subject = due[: -keys.ID_BYTES], due[-keys.ID_BYTES :]
        if tag == keys.DUE_EARLY:
            ctx.view.put(keys.early(subject), None)
        elif tag == keys.DUE_PLANT:
            plants.forget(ctx.view, subject)
        elif tag in _TAGGED:
            _TAGGED[tag](ctx, subject)
        else:
            _inference(ctx, due)
        yield
    ctx.view.put(keys.due(ctx.height), None)
    registry.make_room(ctx)  # after those that leave at this height anyway, before anything counts or draws
    yield
    sprint.keep_beacon(ctx, beacon)
    if ctx.ends_epoch:
        epochs.settle(ctx)
        yield
        standing.end_epoch(ctx)
        yield
    left = prune(ctx)
    yield
    move_prices(ctx, serving)
    if ctx.ends_epoch:
        governance.end_epoch(ctx)  # after all else: until here the old rules hold
        weights.begin_epoch(ctx.view)  # and the old weights
    keep_serving(ctx)  # what the next draws see
    return left


def _inference(ctx: Context, inference_id: bytes) -> None:
    inference = ctx.view.inference(inference_id)
    if inference is None:
        return
    if inference.status == Status.STARTED.value:
        outcomes.expire(ctx, inference_id, inference)
    elif inference.status == Status.FINISHED.value and inference.outcome:
        outcomes.stand(ctx, inference_id, inference, Status(inference.outcome), inference.reason)
    elif inference.status == Status.FINISHED.value:
        panels.draw(ctx, inference_id, inference)
    elif inference.status == Status.APPEALABLE.value:
        panels.appealable(ctx, inference_id, inference)
    elif inference.status in _AT_WORK:
        panels.step(ctx, inference_id, inference)
    elif inference.blame_height == ctx.height and inference.finish is not None:  # no plant was revealed
        standing.strike(ctx.view, inference.finish.record.executor)
        ctx.view.put_inference(inference_id, replace(inference, blame_height=0))
