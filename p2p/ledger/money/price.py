"""A model's price: it follows how much of the network the last heights used. Law: one step a window, O(1) work a block; integers that never
get stuck: a step is at least 1, and the price is never under its floor. What is used shows a check later, so a step a block would swing.

Used are output tokens of answers that were booked, for others than the executor's owner: a reservation comes back and so does the fee of an
answer that does not stand, and what comes back would move the price for nothing. Demand beyond capacity shows all the same: then everything
that can be served is, which is above `high`. Within an epoch a price stays within `price_epoch_milli` of where it began, and always within
the model's floor and ceiling, so that whoever pays for traffic of its own to move it pays for more than one epoch before it moved far.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p.base.codec import Message, encode
from p2p.base.genesis import EconomyRules, ModelSpec
from p2p.base.types import U32, U64
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import models
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

Serving = Callable[[Context, str], list[tuple[bytes, int]]]  # eligibility.serving

MAX_PRICE = 1 << 60
CEILING = 100  # times the first price, where a model names no ceiling
MILLI = 1000


class Price(Message, frozen=True):
    """A model's price now. used: its output tokens booked in the last `window` heights. weight: of those who serve it, as last counted.
    anchor: the price with which the epoch began, 0 = as now."""

    micro: U64
    used: U64 = 0
    window: U32 = 0
    weight: U64 = 0
    anchor: U64 = 0


def price_of(view: View, spec: ModelSpec) -> int:
    """What a token of this model costs in the next block, micro-credits."""
    return _price(view, spec).micro


def floor_of(spec: ModelSpec) -> int:
    return max(1, spec.price_floor_micro)


def ceiling_of(spec: ModelSpec) -> int:
    """The model's own, else so many times the price it began with."""
    return min(max(spec.price_ceiling_micro or spec.price_micro * CEILING, floor_of(spec)), MAX_PRICE)


def bounds(spec: ModelSpec, anchor: int, rules: EconomyRules) -> tuple[int, int]:
    """(lowest, highest) price in an epoch that began with `anchor`; at least one up and one down, so that small prices move too."""
    lowest = min(anchor * MILLI // rules.price_epoch_milli, anchor - 1)
    highest = max(anchor * rules.price_epoch_milli // MILLI, anchor + 1)
    return max(lowest, floor_of(spec)), max(min(highest, ceiling_of(spec)), floor_of(spec))


def begin_at(view: View, spec: ModelSpec) -> None:
    """A vote set the price: it moves on from there."""
    micro = _first(spec)
    view.put(price_key(spec.model), encode(replace(_price(view, spec), micro=micro, anchor=micro)))


def used_by(ctx: Context, model: str, tokens: int) -> None:
    """An answer that was booked in this block."""
    used = _use(ctx.view, model, ctx.height) + tokens
    ctx.view.put(_use_key(model, ctx.height), used.to_bytes(8, "big"))


def _forget(view: View, model: str, height: int) -> None:
    if view.get(_use_key(model, height)) is not None:
        view.put(_use_key(model, height), None)


def move_prices(ctx: Context, serving: Serving) -> None:
    """At the end of block `height`: the window moves on by one height; with a whole one each price moves by at most a step."""
    rules = ctx.economy
    for spec in models(ctx.view):  # retired ones too: what was drawn before still finishes
        before = _price(ctx.view, spec)
        window, leaves = rules.price_window, ctx.height - before.window
        used = before.used + _use(ctx.view, spec.model, ctx.height) - _use(ctx.view, spec.model, leaves)
        _forget(ctx.view, spec.model, leaves)
        if window != before.window:  # the first block, or a vote changed it
            used = sum(_use(ctx.view, spec.model, at) for at in range(ctx.height - window + 1, ctx.height + 1))
            for at in range(leaves, ctx.height - window + 1):
                _forget(ctx.view, spec.model, at)
        # Counting everybody is dear, and weights change at the ends of epochs: once in a window is near enough.
        anew = window != before.window or ctx.height % window == 0
        weight = sum(w for _, w in serving(ctx, spec.model)) if anew else before.weight
        anchor = before.anchor or before.micro
        capacity, within = weight * rules.tokens_per_weight * window, bounds(spec, anchor, rules)
        micro = before.micro if ctx.height % window else moved(before.micro, within, used, capacity, rules)
        after = Price(micro, used, window, weight, micro if ctx.ends_epoch else anchor)
        if after != before:
            ctx.view.put(price_key(spec.model), encode(after))


def moved(micro: int, within: tuple[int, int], used: int, capacity: int, rules: EconomyRules) -> int:
    """One step of a price, within two bounds. Where nobody can serve (capacity 0) nothing can be said about use: it rests."""
    step = max(1, micro * rules.price_step_milli // MILLI) if rules.price_step_milli else 0
    if capacity > 0 and used * MILLI > rules.price_high_milli * capacity:
        micro += step
    elif capacity > 0 and used * MILLI < rules.price_low_milli * capacity:
        micro -= step
    return min(max(micro, within[0]), within[1])


def utilisation_milli(ctx: Context, spec: ModelSpec) -> int | None:
    """Share of the capacity that the last window used, in thousandths; None where there is no capacity."""
    price = _price(ctx.view, spec)
    capacity = price.weight * ctx.economy.tokens_per_weight * price.window
    return price.used * MILLI // capacity if capacity else None


def _price(view: View, spec: ModelSpec) -> Price:
    return view.record(Price, price_key(spec.model)) or Price(_first(spec))


def _first(spec: ModelSpec) -> int:
    return min(max(spec.price_micro, floor_of(spec)), ceiling_of(spec))


def _use(view: View, model: str, height: int) -> int:
    return int.from_bytes((view.get(_use_key(model, height)) if height > 0 else None) or b"", "big")


def price_key(model: str) -> bytes:
    return keys.price(model)


def _use_key(model: str, height: int) -> bytes:
    return keys.use(model, height)
