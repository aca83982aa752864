"""What happens at a height by itself: deadlines, committees, blame, epochs, prices. Law: only ids indexed for this height are touched."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.genesis import Genesis
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
from p2p.ledger.state.view import View, due_key

BEACONS_KEPT = 256  # a draw names one of at most DRAW_WINDOW heights ago
_EARLY, _PLANT = b"early:", b"plant:"
_ORDERED = {b"collat:": collateral.pay_back, b"leave:": registry.leave, b"prop:": governance.close}  # tag of 32 bytes -> who acts on them
_AT_WORK = (Status.VALIDATING.value, Status.REVEALING.value, Status.DISPUTED.value, Status.APPEALED.value)


def end_of_block(view: View, genesis: Genesis, height: int, beacon: bytes) -> tuple[Left, ...]:
    """After the records of block `height`: keep its beacon, act on what is due, end the epoch at its last height. Returns what left the state."""
    return run_to_end(end_of_block_resumably(view, genesis, height, beacon))


def end_of_block_resumably(view: View, genesis: Genesis, height: int, beacon: bytes) -> Resumable[tuple[Left, ...]]:
    """`end_of_block`: a step for each id that is due, then one for each thing that a height does."""
    view.put(b"beacon/" + height.to_bytes(8, "big"), beacon)
    if height > BEACONS_KEPT:
        view.put(b"beacon/" + (height - BEACONS_KEPT).to_bytes(8, "big"), None)
    for due in dict.fromkeys(view.ids(due_key(height))):
        if due.startswith(_EARLY) and len(due) == 32 + len(_EARLY):
            view.put(b"early/" + due[len(_EARLY) :], None)
        elif due.startswith(_PLANT) and len(due) == 32 + len(_PLANT):
            plants.forget(view, due[len(_PLANT) :])
        elif due[:-32] in _ORDERED:
            _ORDERED[due[:-32]](view, genesis, height, due[-32:])
        else:
            _inference(view, genesis, height, due)
        yield
    view.put(due_key(height), None)
    registry.make_room(view, genesis, height)  # after those that leave at this height anyway, before anything counts or draws
    yield
    sprint.keep_beacon(view, genesis, height, beacon)
    if height % genesis.epoch_blocks == 0:
        epochs.settle(view, genesis, height)
        yield
        standing.end_epoch(view, genesis, height)
        yield
    left = prune(view, genesis, height)
    yield
    move_prices(view, genesis, height, serving)
    if height % genesis.epoch_blocks == 0:
        governance.end_epoch(view, genesis, height)  # after all else: until here the old rules hold
        weights.begin_epoch(view)  # and the old weights
    keep_serving(view, genesis, height)  # what the next draws see
    return left


def _inference(view: View, genesis: Genesis, height: int, inference_id: bytes) -> None:
    inference = view.inference(inference_id)
    if inference is None:
        return
    if inference.status == Status.STARTED.value:
        outcomes.expire(view, genesis, height, inference_id, inference)
    elif inference.status == Status.FINISHED.value and inference.outcome:
        outcomes.stand(view, genesis, height, inference_id, inference, Status(inference.outcome), inference.reason)
    elif inference.status == Status.FINISHED.value:
        panels.draw(view, genesis, height, inference_id, inference)
    elif inference.status == Status.APPEALABLE.value:
        panels.appealable(view, genesis, height, inference_id, inference)
    elif inference.status in _AT_WORK:
        panels.step(view, genesis, height, inference_id, inference)
    elif inference.blame_height == height and inference.finish is not None:  # no plant was revealed
        standing.strike(view, inference.finish.record.executor)
        view.put_inference(inference_id, replace(inference, blame_height=0))
