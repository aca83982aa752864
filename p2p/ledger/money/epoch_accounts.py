"""What is booked in an epoch, and which inferences ended in it. Law: one bounded record for each participant and
epoch; every inference that ended is listed under exactly one of them and leaves the state with it
(inferences/pruning.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode, load
from p2p.ledger.conduct.kernels import is_shared
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.records import Earning, EpochSums, Inference
from p2p.ledger.state.view import View

NOBODY = bytes(32)  # the node under which inferences are listed that ended without an executor to name
MILLI = 1000
MAX_SUM = 1 << 62  # of fines and of work: larger sums do not fit the wire's 63 bits, whatever a model's tokens weigh


def cost_factor_milli(view: View, inference: Inference) -> int:
    """What a token of its model is worth as work, in thousandths, by the spec in force at its draw."""
    spec = spec_at(view, inference.signed_request.request.model, inference.draw_height)
    return spec.cost_milli if spec else MILLI


def earners(view: View, epoch: int) -> list[bytes]:
    """Nodes with a record in `epoch`, in the order of their first booking."""
    return view.ids(keys.earners(epoch))


def earning(view: View, epoch: int, node: bytes) -> Earning | None:
    raw = view.get(keys.earning(epoch, node))
    return load(Earning, raw) if raw else None


def put_earning(view: View, epoch: int, node: bytes, record: Earning) -> None:
    if view.get(keys.earning(epoch, node)) is None:
        view.add_id(keys.earners(epoch), node)
    view.put(keys.earning(epoch, node), encode(record))


def new_earning(view: View, epoch: int, node: bytes) -> Earning:
    """The record of `epoch`, or an empty one."""
    return earning(view, epoch, node) or Earning(view.owner_of(node))


def sums(view: View, epoch: int) -> EpochSums:
    raw = view.get(keys.epoch_sums(epoch))
    return load(EpochSums, raw) if raw else EpochSums()


def put_sums(view: View, epoch: int, record: EpochSums) -> None:
    view.put(keys.epoch_sums(epoch), encode(record))


def book(ctx: Context, inference: Inference) -> None:
    """M1, M2: an inference stands; its fee waits for the end of the epoch. Paid by the executor's own owner it is no
    work. M20: on kernels that nobody shares a part of the fee is not paid.
    """
    assert inference.finish is not None
    finish, request = inference.finish.record, inference.signed_request.request
    record = new_earning(ctx.view, ctx.epoch, finish.executor)
    tokens = finish.prompt_tokens + finish.generated
    work = 0 if record.owner == request.account else tokens * cost_factor_milli(ctx.view, inference)
    shared = is_shared(ctx, finish.executor, request.model, finish.stack)
    held = 0 if shared else inference.due_micro * (MILLI - ctx.economy.unshared_pay_milli) // MILLI
    put_earning(ctx.view, ctx.epoch, finish.executor, replace(
        record, fees_micro=record.fees_micro + inference.due_micro, work=min(record.work + work, MAX_SUM),
        inferences=record.inferences + 1, unshared_micro=record.unshared_micro + held,
    ))


def fine(ctx: Context, inference: Inference) -> None:
    """M16: an answer that did not stand, checked with probability p, stands for (1 - p) / p more that nobody checked.

    As many fees of its executor are forfeited besides its own. So a fault that a check would find costs its fee on
    average, however few answers are checked.
    """
    assert inference.finish is not None
    epoch, node = ctx.epoch, inference.finish.record.executor
    record, sampled = new_earning(ctx.view, epoch, node), inference.sampled_milli
    more = inference.due_micro * (MILLI - sampled) // sampled if sampled else 0
    put_earning(ctx.view, epoch, node, replace(record, fined_micro=min(record.fined_micro + more, MAX_SUM)))


def keep_ended(ctx: Context, node: bytes, inference_id: bytes) -> None:
    """List an inference that ended in this block under `node`."""
    record = new_earning(ctx.view, ctx.epoch, node)
    ctx.view.put(keys.ended(ctx.epoch, node, record.ended), inference_id)
    put_earning(ctx.view, ctx.epoch, node, replace(record, ended=record.ended + 1))


def ended(view: View, epoch: int, node: bytes, start: int, count: int) -> list[bytes]:
    """Up to `count` ids of `node`'s inferences that ended in `epoch`, in order, from number `start` on."""
    record = earning(view, epoch, node)
    if record is None:
        return []
    numbers = range(start, min(record.ended, start + count))
    found = [view.get(keys.ended(epoch, node, number)) for number in numbers]
    return [inference_id for inference_id in found if inference_id is not None]


def take_ended(view: View, epoch: int, node: bytes, most: int) -> list[bytes]:
    """Remove up to `most` of one node's inferences from the list, the last ones, and return their ids.

    The node's record goes with its first inference.
    """
    record = earning(view, epoch, node)
    assert record is not None
    left, found = max(record.ended - most, 0), []
    for number in range(left, record.ended):
        inference_id = view.get(keys.ended(epoch, node, number))
        assert inference_id is not None
        view.put(keys.ended(epoch, node, number), None)
        found.append(inference_id)
    if left:
        view.put(keys.earning(epoch, node), encode(replace(record, ended=left)))
    else:
        view.put(keys.earning(epoch, node), None)
        view.remove_id(keys.earners(epoch), node)
    return found
