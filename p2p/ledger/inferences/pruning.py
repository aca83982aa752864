"""Ended inferences leave the state after `keep_epochs` epochs. Law: at most MAX_LEAVING a block, in an order that the
state gives. Each that left is a leaf of its epoch's Merkle tree, whose root stays in the epoch's sums for ever
(decision 021).

While a tree is being built the state holds its peaks only (merkle.grow).
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
from p2p.ledger.money import epoch_accounts
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View

MAX_LEAVING = 256  # inferences in one block


class Leaving(Message, frozen=True):
    """How far pruning has come."""

    epoch: U64 = 0  # the first epoch that may still have something in the state
    size: U64 = 0  # leaves of its tree so far
    peaks: Annotated[tuple[Bytes32, ...], Meta(max_length=64)] = ()  # of that tree


@dataclass(frozen=True)  # no slots: the derived values are cached
class Left:
    """An inference that left the state."""

    epoch: int  # in which it ended
    index: int  # of its leaf in that epoch's tree
    inference_id: bytes
    record: bytes  # the last `Inference` record, canonical bytes

    @cached_property
    def leaf_hash(self) -> bytes:
        return merkle.leaf_hash(leaf_of(self.inference_id, self.record))

    @cached_property
    def inference(self) -> Inference:
        return load(Inference, self.record)


def leaf_of(inference_id: bytes, record: bytes) -> bytes:
    """The leaf before hashing. An id has 32 bytes, so no two pairs make the same leaf."""
    return inference_id + record


def leaving(view: View) -> Leaving:
    return view.record(Leaving, keys.LEAVING) or Leaving()


def is_kept(view: View, epoch: int) -> bool:
    """Whether nothing that ended in `epoch` has left the state yet."""
    now = leaving(view)
    return epoch > now.epoch or (epoch == now.epoch and now.size == 0)


def prune(ctx: Context) -> tuple[Left, ...]:
    """At the end of a block: remove what ended `keep_epochs` epochs ago. Returns what left, by number.

    It is kept for longer where the time to reveal a planted fault is longer.
    """
    epoch_blocks = ctx.genesis.epoch_blocks
    keep = max(ctx.economy.keep_epochs, ctx.checks.plant_window // epoch_blocks + 1)
    last = ctx.height // epoch_blocks - 1 - keep  # height // epoch_blocks - 1 is the last epoch that is over
    now, found, budget = leaving(ctx.view), list[Left](), MAX_LEAVING
    before = now
    while now.epoch <= last and budget > 0:
        nodes = epoch_accounts.earners(ctx.view, now.epoch)
        if not nodes:
            _close(ctx.view, now)
            now, budget = Leaving(now.epoch + 1), budget - 1
            continue
        ids = epoch_accounts.take_ended(ctx.view, now.epoch, nodes[-1], budget)
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
    """Everything that ended in this epoch has left: keep the tree's root and size."""
    root, sums = merkle.root_of_peaks(now.peaks), epoch_accounts.sums(view, now.epoch)
    epoch_accounts.put_sums(view, now.epoch, replace(sums, left=now.size, left_root=root))
