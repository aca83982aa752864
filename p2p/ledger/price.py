"""A model's price: it follows how much of the network the last heights used. Law: one step a block, of O(1) work; integers that never get
stuck: a step is at least 1, and the price is never under its floor.

Used are output tokens of finish records, not what clients reserve: a reservation comes back and would move the price for nothing, a
finished token is paid for. Demand beyond capacity shows all the same: then everything that can be finished is, which is above `high`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p.codec import encode
from p2p.genesis import EconomyRules, Genesis, ModelSpec
from p2p.ledger import parameters
from p2p.ledger.models import models
from p2p.ledger.records import Price
from p2p.ledger.view import View

Serving = Callable[[View, Genesis, str], list[tuple[bytes, int]]]  # rules.serving

MAX_PRICE = 1 << 60
MILLI = 1000


def price_of(view: View, spec: ModelSpec) -> int:
    """What a token of this model costs in the next block, micro-credits."""
    return _price(view, spec).micro


def floor_of(spec: ModelSpec) -> int:
    return max(1, spec.price_floor_micro)


def begin_at(view: View, spec: ModelSpec) -> None:
    """A vote set the price: it moves on from there."""
    view.put(price_key(spec.model), encode(replace(_price(view, spec), micro=min(max(spec.price_micro, floor_of(spec)), MAX_PRICE))))


def used_by(view: View, model: str, height: int, tokens: int) -> None:
    """A finish record of block `height`."""
    view.put(_use_key(model, height), (_use(view, model, height) + tokens).to_bytes(8, "big"))


def _forget(view: View, model: str, height: int) -> None:
    if view.get(_use_key(model, height)) is not None:
        view.put(_use_key(model, height), None)


def move_prices(view: View, genesis: Genesis, height: int, serving: Serving) -> None:
    """At the end of block `height`: the window moves on by one height, and each price by at most a step."""
    rules = parameters.economy(view, genesis)
    for spec in models(view):  # retired ones too: what was drawn before still finishes
        before = _price(view, spec)
        window, used = rules.price_window, before.used + _use(view, spec.model, height) - _use(view, spec.model, height - before.window)
        _forget(view, spec.model, height - before.window)
        if window != before.window:  # the first block, or a vote changed it
            used = sum(_use(view, spec.model, at) for at in range(height - window + 1, height + 1))
            for at in range(height - before.window, height - window + 1):
                _forget(view, spec.model, at)
        # Counting everybody is dear, and weights change at the ends of epochs: once in a window is near enough.
        anew = window != before.window or height % window == 0
        weight = sum(w for _, w in serving(view, genesis, spec.model)) if anew else before.weight
        micro = moved(before.micro, floor_of(spec), used, weight * rules.tokens_per_weight * window, rules)
        after = Price(micro, used, window, weight)
        if after != before:
            view.put(price_key(spec.model), encode(after))


def moved(micro: int, floor: int, used: int, capacity: int, rules: EconomyRules) -> int:
    """One step of a price. Where nobody can serve (capacity 0) nothing can be said about use: it rests."""
    step = max(1, micro * rules.price_step_milli // MILLI) if rules.price_step_milli else 0
    if capacity > 0 and used * MILLI > rules.price_high_milli * capacity:
        micro += step
    elif capacity > 0 and used * MILLI < rules.price_low_milli * capacity:
        micro -= step
    return min(max(micro, floor), MAX_PRICE)


def utilisation_milli(view: View, genesis: Genesis, spec: ModelSpec) -> int | None:
    """Share of the capacity that the last window used, in thousandths; None where there is no capacity."""
    price = _price(view, spec)
    capacity = price.weight * parameters.economy(view, genesis).tokens_per_weight * price.window
    return price.used * MILLI // capacity if capacity else None


def _price(view: View, spec: ModelSpec) -> Price:
    return view.record(Price, price_key(spec.model)) or Price(min(max(spec.price_micro, floor_of(spec)), MAX_PRICE))


def _use(view: View, model: str, height: int) -> int:
    return int.from_bytes((view.get(_use_key(model, height)) if height > 0 else None) or b"", "big")


def price_key(model: str) -> bytes:
    return b"price/" + model.encode()


def _use_key(model: str, height: int) -> bytes:
    return b"use/" + max(height, 0).to_bytes(8, "big") + model.encode()
