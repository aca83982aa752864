"""Who could be drawn to serve a model, as of each height at which a draw may still be made. Law: an agent draws from
the set in force after its draw height, and the chain draws from the same one at the Start, whatever changed in
between.

A version of the set is written only when the set changes (decision 018). Whether it may have changed shows in what the
block touched, and in whether the price crossed a participant's floor; otherwise nothing is counted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple

from msgspec import Meta
from msgspec.structs import replace

from p2p.base.codec import Message, encode, load
from p2p.base.errors import InvalidRequest
from p2p.base.executor_draw import draw_id, session_lots
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import BEACON_MAX_AGE, HEIGHTS_APART, MAX_CANDIDATES, SESSION_HEIGHTS
from p2p.base.types import NO_SESSION, U64, Bytes32, SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.ledger.money.price import MAX_PRICE, price_of
from p2p.ledger.participants.eligibility import able
from p2p.ledger.participants.places import MAX_NEW, MAX_PARTICIPANTS
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted
from p2p.ledger.rules.models import models
from p2p.ledger.state import keys
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View

DRAW_WINDOW = 32  # heights a Start may lag behind its draw
MAX_VERSIONS = DRAW_WINDOW + 1  # kept of one model's set: one that changes at each height needs so many
assert BEACON_MAX_AGE + HEIGHTS_APART + 8 <= DRAW_WINDOW  # what an agent takes comes into a block in time
NOBODY = WeightedDraw(())
_PARTICIPANTS = (keys.participant(b""), keys.PARTICIPANTS)


class Versions(Message, frozen=True):
    """Which of a model's sets are kept. The newest holds while the price is between two participants' floors."""

    heights: Annotated[tuple[U64, ...], Meta(min_length=1, max_length=MAX_VERSIONS + 1)]  # of the sets, ascending
    low: U64  # the newest set holds while the price is at least this,
    high: U64  # and below this

    def at(self, height: int) -> int | None:
        """The height of the version in force after block `height`; None where none of the kept ones was."""
        return max((since for since in self.heights if since <= height), default=None)


class ServingSet(Message, frozen=True):
    """The nodes that serve a model."""

    # (node, counted weight), by key
    nodes: Annotated[tuple[tuple[Bytes32, U64], ...], Meta(max_length=MAX_PARTICIPANTS + MAX_NEW)]


class Draw(NamedTuple):
    """What the executors of one request are drawn by."""

    beacon: bytes  # of the request's draw height: for the tape
    lots: WeightedDraw  # whom they are drawn from
    drawn_by: bytes  # the beacon that draws: of the draw height, or of the session's

    def executors(self, signed: SignedRequest, agent: bytes) -> tuple[bytes, ...]:
        """In the order in which the agent asks them."""
        return draw_executors(self.drawn_by, draw_id(signed), self.lots, agent, MAX_CANDIDATES)


def draw_for(view: View, signed: SignedRequest) -> Draw | None:
    """The draw of a request; None where the beacon of its draw height is not in the state. Raises
    InvalidRequest(field='session_height') where the session's height is wrong, or too long ago (decision 057)."""
    request = signed.request
    beacon, lots = view.beacon(request.draw_height), serving_at(view, request.model, request.draw_height)
    if beacon is None:
        return None
    if request.session == NO_SESSION:
        if request.session_height:
            raise InvalidRequest("a request without a session names no height of one", field="session_height")
        return Draw(beacon, lots, beacon)
    if not request.draw_height - SESSION_HEIGHTS <= request.session_height <= request.draw_height:
        raise InvalidRequest(
            f"a session begins at most {SESSION_HEIGHTS} heights before the draw's; begin a new one",
            field="session_height",
        )
    drawn_by, then = view.beacon(request.session_height), serving_at(view, request.model, request.session_height)
    if drawn_by is None or not then.weight:
        raise InvalidRequest(
            "who served at the session's height is not known any more; begin a new session", field="session_height",
        )
    return Draw(beacon, session_lots(then, lots), drawn_by)


def serving_at(view: View, model: str, height: int) -> WeightedDraw:
    """The nodes that a draw at `height` is made from; empty where no set is kept, as of heights too long ago."""
    known = _versions(view, model)
    since = known.at(height) if known else None
    raw = view.get(set_key(model, since)) if since is not None else None
    return _lots(raw) if raw else NOBODY


def keep_serving(ctx: Context) -> None:
    """At the very end of block `height` (0: of the first state): what draws at this height are made from."""
    moved = _moved(ctx.view)
    for spec in models(ctx.view):
        before = _versions(ctx.view, spec.model)
        after = before
        if before is None or moved or not before.low <= price_of(ctx.view, spec) < before.high:
            after = _renewed(ctx, spec, before)
        if after is not None:
            after = _without_old(ctx, spec, after)
        if after != before:
            ctx.view.put(versions_key(spec.model), encode(after) if after else None)


def _renewed(ctx: Context, spec: ModelSpec, before: Versions | None) -> Versions | None:
    """Count again, and write a changed set as a version of this height."""
    price, some = price_of(ctx.view, spec), [] if spec.retired else able(ctx, spec.model)
    raw = encode(ServingSet(tuple(counted(ctx, [p for p in some if p.price_floor_micro <= price]))))
    low = max((p.price_floor_micro for p in some if p.price_floor_micro <= price), default=0)
    high = min((p.price_floor_micro for p in some if p.price_floor_micro > price), default=MAX_PRICE + 1)
    if before is not None and ctx.view.get(set_key(spec.model, before.heights[-1])) == raw:
        return Versions(before.heights, low, high)
    if before is None and spec.retired:
        return None
    ctx.view.put(set_key(spec.model, ctx.height), raw)
    return Versions((*(before.heights if before else ()), ctx.height), low, high)


def _without_old(ctx: Context, spec: ModelSpec, known: Versions) -> Versions | None:
    """Remove versions that no Start of a later block can name; None when a retired model's last one is gone. Of those
    that only sessions name, the oldest go where there are more than fit."""
    oldest = known.at(ctx.height + 1 - DRAW_WINDOW)
    of_sessions = known.at(ctx.height + 1 - DRAW_WINDOW - SESSION_HEIGHTS)
    left = tuple(since for since in known.heights if of_sessions is None or since >= of_sessions)[-MAX_VERSIONS:]
    if spec.retired and len(known.heights) and known.heights[-1] == oldest:
        left = ()
    for since in known.heights:
        if since not in left:
            ctx.view.put(set_key(spec.model, since), None)
    return replace(known, heights=left) if left else None


def _moved(view: View) -> bool:
    """Whether the block changed rules, models or a participant. Prices are compared separately."""
    return any(
        not key.startswith(_PARTICIPANTS) or _facts(key, view.before(key)) != _facts(key, view.get(key))
        for key in view.touched()
    )


def _facts(key: bytes, raw: bytes | None) -> object:
    """A participant without the fields that change often and decide nothing here. A field not named here counts."""
    if not raw or not key.startswith(keys.participant(b"")):
        return raw
    return replace(load(Participant, raw), batch_nonce=0, misses=0, active=0)


def _versions(view: View, model: str) -> Versions | None:
    return view.record(Versions, versions_key(model))


@lru_cache(maxsize=256)
def _lots(raw: bytes) -> WeightedDraw:
    """The same bytes are asked for by every Start until the next version."""
    return WeightedDraw(load(ServingSet, raw).nodes)


def versions_key(model: str) -> bytes:
    return keys.serving_versions(model)


def set_key(model: str, since: int) -> bytes:
    """No two of (model, since) share one: the last nine bytes are the height's."""
    return keys.serving_set(model, since)
