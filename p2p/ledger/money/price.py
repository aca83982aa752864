"""A model's price follows how much of the network's capacity the last heights used. Law: one step a window, O(1) work
a block, and no price gets stuck: a step is at least 1, and a price stays within the model's floor and ceiling.

Used are output tokens of booked answers, paid by others than the executor's owner. Reservations and answers that do
not stand are paid back, and what is paid back would move the price for nothing. Demand beyond the capacity shows all
the same: then everything that can be served is, which is above `price_high_milli`. Within an epoch a price stays
within `price_epoch_milli` of its anchor, the price that the epoch began with, so an owner that pays for its own
traffic to move the price pays for more than one epoch before it has moved far. Use is known only once an answer is
checked, so a step in every block would swing.
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

Serving = Callable[[Context, str], list[tuple[bytes, int]]]  # participants.eligibility.serving

MAX_PRICE = 1 << 60  # micro-credits a token
CEILING = 100  # times the first price, for a model that names no ceiling
MILLI = 1000
USE_BYTES = 8  # of a height's counter of used tokens


class Price(Message, frozen=True):
    """A model's price now."""

    micro: U64  # micro-credits a token
    used: U64 = 0  # output tokens booked in the last `window` heights
    window: U32 = 0  # heights that `used` is about
    weight: U64 = 0  # counted weight of the nodes that serve the model, as last counted
    anchor: U64 = 0  # the price with which the epoch began; 0 = the price now


def price_of(view: View, spec: ModelSpec) -> int:
    """Micro-credits that a token of this model costs in the next block."""
    return _price(view, spec).micro


def floor_of(spec: ModelSpec) -> int:
    return max(1, spec.price_floor_micro)


def ceiling_of(spec: ModelSpec) -> int:
    """The model's own ceiling, or CEILING times the price it began with."""
    return min(max(spec.price_ceiling_micro or spec.price_micro * CEILING, floor_of(spec)), MAX_PRICE)


def bounds(spec: ModelSpec, anchor: int, rules: EconomyRules) -> tuple[int, int]:
    """(lowest, highest) price in an epoch that began with `anchor`; at least 1 down and 1 up, so small prices move
    too.
    """
    lowest = min(anchor * MILLI // rules.price_epoch_milli, anchor - 1)
    highest = max(anchor * rules.price_epoch_milli // MILLI, anchor + 1)
    return max(lowest, floor_of(spec)), max(min(highest, ceiling_of(spec)), floor_of(spec))


def begin_at(view: View, spec: ModelSpec) -> None:
    """A vote set the price: it moves on from there."""
    micro = _first(spec)
    view.put(price_key(spec.model), encode(replace(_price(view, spec), micro=micro, anchor=micro)))


def used_by(ctx: Context, model: str, tokens: int) -> None:
    """Count an answer that was booked in this block."""
    used = _use(ctx.view, model, ctx.height) + tokens
    ctx.view.put(keys.use(model, ctx.height), used.to_bytes(USE_BYTES, "big"))


def move_prices(ctx: Context, serving: Serving) -> None:
    """At the end of a block: move the window by one height, and each price by at most a step where the window is
    complete.
    """
    for spec in models(ctx.view):  # retired ones too: what was drawn before still finishes
        before = _price(ctx.view, spec)
        after = _next_price(ctx, spec, before, serving)
        if after != before:
            ctx.view.put(price_key(spec.model), encode(after))


def _next_price(ctx: Context, spec: ModelSpec, before: Price, serving: Serving) -> Price:
    rules, used = ctx.economy, _used_in_window(ctx, spec.model, before)
    window = rules.price_window
    # Counting all participants is expensive, and weights change at the ends of epochs: once a window is often enough.
    anew = window != before.window or ctx.height % window == 0
    weight = sum(w for _, w in serving(ctx, spec.model)) if anew else before.weight
    anchor = before.anchor or before.micro
    capacity, within = weight * rules.tokens_per_weight * window, bounds(spec, anchor, rules)
    micro = before.micro if ctx.height % window else moved(before.micro, within, used, capacity, rules)
    return Price(micro, used, window, weight, micro if ctx.ends_epoch else anchor)


def _used_in_window(ctx: Context, model: str, before: Price) -> int:
    """Output tokens booked in the window that ends at this height; counters that left it are removed."""
    view, height, window = ctx.view, ctx.height, ctx.economy.price_window
    leaves = height - before.window
    used = before.used + _use(view, model, height) - _use(view, model, leaves)
    _forget(view, model, leaves)
    if window != before.window:  # the first block, or a vote changed it
        used = sum(_use(view, model, at) for at in range(height - window + 1, height + 1))
        for at in range(leaves, height - window + 1):
            _forget(view, model, at)
    return used


def moved(micro: int, within: tuple[int, int], used: int, capacity: int, rules: EconomyRules) -> int:
    """The price after one step, within the bounds. Without capacity use says nothing, and the price rests."""
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


def price_key(model: str) -> bytes:
    return keys.price(model)


def _use(view: View, model: str, height: int) -> int:
    raw = view.get(keys.use(model, height)) if height > 0 else None
    return int.from_bytes(raw or b"", "big")


def _forget(view: View, model: str, height: int) -> None:
    if view.get(keys.use(model, height)) is not None:
        view.put(keys.use(model, height), None)
