"""What is booked in an epoch, and which inferences ended in it. Law: one bounded record for each participant; every inference that ended is
under exactly one of them, and leaves the state with it (leaving.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode, load
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.records import Earning, EpochSums, Inference
from p2p.ledger.state.view import View

NOBODY = bytes(32)  # under this node stand inferences that ended without an executor to name
MILLI = 1000
MAX_SUM = 1 << 62  # of fines, and of work: so that a sum has its place on the wire whatever a model's tokens weigh


def cost_factor_milli(view: View, inference: Inference) -> int:
    """How much a token of its model is worth as work, in thousandths, by the spec it was drawn under."""
    spec = spec_at(view, inference.signed_request.request.model, inference.draw_height)
    return spec.cost_milli if spec else MILLI


def earners(view: View, epoch: int) -> list[bytes]:
    """Nodes with a record in `epoch`, in the order of their first booking."""
    return view.ids(keys.earners(epoch))


def earning(view: View, epoch: int, node: bytes) -> Earning | None:
    raw = view.get(_key(epoch, node))
    return load(Earning, raw) if raw else None


def put_earning(view: View, epoch: int, node: bytes, record: Earning) -> None:
    if view.get(_key(epoch, node)) is None:
        view.add_id(keys.earners(epoch), node)
    view.put(_key(epoch, node), encode(record))


def new_earning(view: View, epoch: int, node: bytes) -> Earning:
    """The record of `epoch`, or an empty one."""
    return earning(view, epoch, node) or Earning(view.owner_of(node))


def sums(view: View, epoch: int) -> EpochSums:
    raw = view.get(keys.epoch_sums(epoch))
    return load(EpochSums, raw) if raw else EpochSums()


def put_sums(view: View, epoch: int, record: EpochSums) -> None:
    view.put(keys.epoch_sums(epoch), encode(record))


def book(ctx: Context, inference: Inference) -> None:
    """An inference that stands: its fee waits for the end of the epoch. One that the executor's own owner paid for is no work."""
    assert inference.finish is not None
    finish, request = inference.finish.record, inference.signed_request.request
    epoch = ctx.epoch
    record = new_earning(ctx.view, epoch, finish.executor)
    tokens = finish.prompt_tokens + finish.generated
    work = 0 if record.owner == request.account else tokens * cost_factor_milli(ctx.view, inference)
    put_earning(ctx.view, epoch, finish.executor, replace(
        record, fees_micro=record.fees_micro + inference.due_micro, work=min(record.work + work, MAX_SUM), inferences=record.inferences + 1,
    ))


def fine(ctx: Context, inference: Inference) -> None:
    """An answer that did not stand, checked with probability p, speaks for the (1 - p) / p like it that nobody looked at: so many fees of its
    executor's are forfeited beside its own. Then a cheat that a check would see costs its fee in the mean, however few are checked."""
    assert inference.finish is not None
    epoch, node = ctx.epoch, inference.finish.record.executor
    record, sampled = new_earning(ctx.view, epoch, node), inference.sampled_milli
    more = inference.due_micro * (MILLI - sampled) // sampled if sampled else 0
    put_earning(ctx.view, epoch, node, replace(record, fined_micro=min(record.fined_micro + more, MAX_SUM)))


def keep_ended(ctx: Context, node: bytes, inference_id: bytes) -> None:
    """`inference_id` ended in block `height`; it is one of `node`'s."""
    epoch = ctx.epoch
    record = new_earning(ctx.view, epoch, node)
    ctx.view.put(_ended_key(epoch, node, record.ended), inference_id)
    put_earning(ctx.view, epoch, node, replace(record, ended=record.ended + 1))


def ended(view: View, epoch: int, node: bytes, start: int, count: int) -> list[bytes]:
    """Up to `count` ids of `node`'s inferences that ended in `epoch`, in order, from number `start` on."""
    record = earning(view, epoch, node)
    found = [view.get(_ended_key(epoch, node, at)) for at in range(start, min(record.ended, start + count))] if record else []
    return [inference_id for inference_id in found if inference_id is not None]


def take_ended(view: View, epoch: int, node: bytes, most: int) -> list[bytes]:
    """The ids of up to `most` of one node's inferences, the last ones, which are not in the index any more; with the first of them goes
    the node's record."""
    record = earning(view, epoch, node)
    assert record is not None
    left, found = max(record.ended - most, 0), []
    for at in range(left, record.ended):
        inference_id = view.get(_ended_key(epoch, node, at))
        assert inference_id is not None
        view.put(_ended_key(epoch, node, at), None)
        found.append(inference_id)
    if left:
        view.put(_key(epoch, node), encode(replace(record, ended=left)))
    else:
        view.put(_key(epoch, node), None)
        view.remove_id(keys.earners(epoch), node)
    return found


def _key(epoch: int, node: bytes) -> bytes:
    return keys.earning(epoch, node)


def _ended_key(epoch: int, node: bytes, number: int) -> bytes:
    return keys.ended(epoch, node, number)
