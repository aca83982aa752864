"""Ended inferences leave the state. Law: at most MAX_LEAVING a block, in an order that the state gives; what has left is a leaf of its epoch's
Merkle tree, whose root stays in the epoch's sums for ever (decision 021).

Of a tree that is being made the state holds its peaks only (merkle.grow).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.codec import Message, encode, load
from p2p.base.types import U64, Bytes32
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View

MAX_LEAVING = 256  # inferences in one block


class Leaving(Message, frozen=True):
    """epoch: the first one of which something may still be in the state. size, peaks: of the tree of what has left of it."""

    epoch: U64 = 0
    size: U64 = 0
    peaks: Annotated[tuple[Bytes32, ...], Meta(max_length=64)] = ()


@dataclass(frozen=True)  # no slots: what is derived is kept
class Left:
    """An inference that left: leaf number `index` of `epoch`. record: its last one, canonical bytes."""

    epoch: int
    index: int
    inference_id: bytes
    record: bytes

    @cached_property
    def leaf_hash(self) -> bytes:
        return merkle.leaf_hash(leaf_of(self.inference_id, self.record))

    @cached_property
    def inference(self) -> Inference:
        return load(Inference, self.record)


def leaf_of(inference_id: bytes, record: bytes) -> bytes:
    """Its leaf, before hashing: the id has 32 bytes, so no two pairs have the same."""
    return inference_id + record


def leaving(view: View) -> Leaving:
    return view.record(Leaving, keys.LEAVING) or Leaving()


def is_kept(view: View, epoch: int) -> bool:
    """Whether nothing of `epoch` has left the state yet."""
    now = leaving(view)
    return epoch > now.epoch or (epoch == now.epoch and now.size == 0)


def prune(ctx: Context) -> tuple[Left, ...]:
    """At the end of block `height`: what ended `keep_epochs` epochs ago leaves the state; later where the time to reveal a plant is longer
    than that. Returns what left, by number."""
    window = ctx.checks.plant_window
    keep = max(ctx.economy.keep_epochs, window // ctx.genesis.epoch_blocks + 1)
    last = ctx.height // ctx.genesis.epoch_blocks - 1 - keep  # height // epoch_blocks - 1 is the last epoch that is over
    now, found, budget = leaving(ctx.view), list[Left](), MAX_LEAVING
    before = now
    while now.epoch <= last and budget > 0:
        nodes = earnings.earners(ctx.view, now.epoch)
        if not nodes:
            _close(ctx.view, now)
            now, budget = Leaving(now.epoch + 1), budget - 1
            continue
        ids = earnings.take_ended(ctx.view, now.epoch, nodes[-1], budget)
        budget -= max(len(ids), 1)
        for inference_id in ids:
            now = _leave(ctx.view, now, inference_id, found)
    if now != before:
        ctx.view.put(keys.LEAVING, encode(now))
    return tuple(found)


def _leave(view: View, now: Leaving, inference_id: bytes, found: list[Left]) -> Leaving:
    record = view.get(keys.inference(inference_id))
    assert record is not None
    view.put(keys.inference(inference_id), None)
    left = Left(now.epoch, now.size, inference_id, record)
    found.append(left)
    return Leaving(now.epoch, now.size + 1, merkle.grow(now.peaks, now.size, left.leaf_hash))


def _close(view: View, now: Leaving) -> None:
    """All that ended in this epoch has left."""
    root = merkle.root_of_peaks(now.peaks)
    earnings.put_sums(view, now.epoch, replace(earnings.sums(view, now.epoch), left=now.size, left_root=root))
