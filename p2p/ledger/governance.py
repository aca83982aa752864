"""Votes on the rules and the models. Law: what cannot be built is not put to a vote; an accepted change is in force
from the first height of the next epoch, for everybody; where it no longer fits by then, it is void and says why.

A vote weighs what its account's participants weigh when it is cast, and no more than they still do at closing. Yes
must reach `gov_quorum_milli` of all weight at closing, also of nodes that are leaving: so silence is a no, and leaving
makes no majority.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from p2p.base.codec import Message, encode, load
from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.genesis import ModelSpec
from p2p.base.keys import digest
from p2p.base.types import U64, Bytes32, Reason, Short
from p2p.ledger.money.price import begin_at
from p2p.ledger.participants.places import MAX_PARTICIPANTS
from p2p.ledger.participants.registry import nodes_of
from p2p.ledger.participants.sprint import late
from p2p.ledger.rules import parameters, windows
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import add_model, check_new, live_spec, put_model
from p2p.ledger.rules.ops import AddModel, Change, ChangeChecks, ChangeEconomy, ChangeModel, Propose, RetireModel, Vote
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

MAX_OPEN = 16  # open, or accepted and not yet in force
MAX_CLOSED = 16  # kept for people to read
_WINDOWS = ("reveal_window", "appeal_window")  # of the rules that are voted on; the others are the genesis file's
OPEN, ACCEPTED, REJECTED, IN_FORCE, VOID = "open", "accepted", "rejected", "in force", "void"


class Cast(Message, frozen=True):
    account: Bytes32
    yes: bool
    weight: U64


class Proposal(Message, frozen=True):
    """A change that was put to the vote, and its votes."""

    account: Bytes32
    change: Change
    opened: U64  # height
    closes: U64  # the last height at which votes count
    votes: Annotated[tuple[Cast, ...], Meta(max_length=MAX_PARTICIPANTS)] = ()
    state: Short = OPEN  # OPEN, ACCEPTED, REJECTED, IN_FORCE or VOID
    total_weight: U64 = 0  # of all participants at closing
    reason: Reason = ""  # why it is void

    @property
    def yes_weight(self) -> int:
        return sum(cast.weight for cast in self.votes if cast.yes)


def proposals(view: View) -> list[tuple[bytes, Proposal]]:
    """Oldest first."""
    return [(key, found) for key in view.ids(keys.PROPOSALS) if (found := proposal(view, key)) is not None]


def proposal(view: View, key: bytes) -> Proposal | None:
    raw = view.get(keys.proposal(key))
    return load(Proposal, raw) if raw else None


def propose(ctx: Context, account: bytes, body: Propose) -> None:
    """Carry out a PROPOSE. Only an account with weight may, so that strangers cannot fill the list."""
    _weight(ctx.view, account)
    known = proposals(ctx.view)
    if any(found.state == OPEN and found.account == account for _, found in known):
        raise InvalidRequest("the account has an open proposal", field="account")
    if sum(found.state in (OPEN, ACCEPTED) for _, found in known) >= MAX_OPEN:
        raise InvalidRequest(f"at most {MAX_OPEN} proposals may wait", field="change")
    _make(ctx.child(), body.change)
    closed = [key for key, found in known if found.state not in (OPEN, ACCEPTED)]
    for key in closed[: max(len(closed) - MAX_CLOSED, 0)]:
        ctx.view.put(keys.proposal(key), None)
        ctx.view.remove_id(keys.PROPOSALS, key)
    key = digest(b"proposal", account, ctx.height.to_bytes(8, "big"), encode(body))
    closes = ctx.height + ctx.economy.gov_window
    ctx.view.put(keys.proposal(key), encode(Proposal(account, body.change, ctx.height, closes)))
    ctx.view.add_id(keys.PROPOSALS, key)
    ctx.view.add_due(closes, keys.DUE_PROPOSAL + key)


def vote(ctx: Context, account: bytes, body: Vote) -> None:
    found = proposal(ctx.view, body.proposal)
    if found is None or found.state != OPEN or ctx.height > found.closes:
        raise InvalidRequest("no such proposal is open", field="proposal")
    weight = _weight(ctx.view, account)
    if any(cast.account == account for cast in found.votes) or len(found.votes) >= MAX_PARTICIPANTS:
        raise InvalidRequest("the account has voted", field="account")
    votes = (*found.votes, Cast(account, body.yes, weight))
    ctx.view.put(keys.proposal(body.proposal), encode(replace(found, votes=votes)))


def _weight(view: View, account: bytes) -> int:
    weight = _counts(view, account)
    if not weight:
        raise InvalidRequest("the account's participants have no weight, or are leaving or convicted", field="account")
    return weight


def _counts(view: View, account: bytes) -> int:
    return sum(p.weight for p in nodes_of(view, account) if not p.leaving and not p.convicted_until)


def close(ctx: Context, key: bytes) -> None:
    """At the end of a block: count the votes of a proposal that closes at this height."""
    found = proposal(ctx.view, key)
    if found is None or found.state != OPEN or found.closes != ctx.height:
        return
    total = sum(p.weight for p in ctx.view.participants())
    found = replace(found, votes=tuple(
        replace(cast, weight=min(cast.weight, _counts(ctx.view, cast.account))) for cast in found.votes
    ))
    accepted = total > 0 and found.yes_weight * 1000 >= ctx.economy.gov_quorum_milli * total
    found = replace(found, state=ACCEPTED if accepted else REJECTED, total_weight=total)
    ctx.view.put(keys.proposal(key), encode(found))


def end_epoch(ctx: Context) -> None:
    """At an epoch's last height, after everything that reads the rules: put accepted changes in force."""
    for key, found in proposals(ctx.view):
        if found.state != ACCEPTED:
            continue
        child = ctx.child()
        try:
            _make(child, found.change)
        except FolkmootError as error:
            ctx.view.put(keys.proposal(key), encode(replace(found, state=VOID, reason=str(error)[:300])))
            continue
        ctx.view.merge(child.view)
        ctx.view.put(keys.proposal(key), encode(replace(found, state=IN_FORCE)))


# -- changes: each function builds the new rules or model and puts it; `propose` tries that on a view that it drops ---


def _make(ctx: Context, change: Change) -> None:
    """Raises InvalidRequest naming the field."""
    _CHANGES[type(change)](ctx, change)


def _checks(ctx: Context, change: ChangeChecks) -> None:
    rules = parameters.changed(ctx.checks, change.fields)
    moved = [name for name, _ in change.fields if name in _WINDOWS]
    wanted = replace(ctx.genesis, checks=rules)
    if moved and (found := windows.problem(wanted) or late(wanted)):
        raise InvalidRequest(found, field=moved[0])
    parameters.put_checks(ctx.view, rules)


def _economy(ctx: Context, change: ChangeEconomy) -> None:
    rules = parameters.changed(ctx.economy, change.fields)
    if rules.gov_quorum_milli < ctx.genesis.economy.gov_quorum_milli:
        raise InvalidRequest(  # else one vote that was won by surprise is all that is ever needed
            f"not below what the network began with, {ctx.genesis.economy.gov_quorum_milli}", field="gov_quorum_milli",
        )
    parameters.put_economy(ctx.view, rules)


def _add(ctx: Context, change: AddModel) -> None:
    check_new(ctx.view, change.spec.model)
    _sound(change.spec)
    add_model(ctx.view, change.spec)


def _change(ctx: Context, change: ChangeModel) -> None:
    for name, _ in change.fields:
        if name in ("model", "retired"):
            raise InvalidRequest("a model keeps its name, and is retired by a proposal to retire it", field=name)
    spec = parameters.changed(live_spec(ctx.view, change.model), change.fields)
    _sound(spec)
    put_model(ctx.view, spec, ctx.height)
    if any(name == "price_micro" for name, _ in change.fields):
        begin_at(ctx.view, spec)


def _retire(ctx: Context, change: RetireModel) -> None:
    put_model(ctx.view, replace(live_spec(ctx.view, change.model), retired=True), ctx.height)


def _sound(spec: ModelSpec) -> None:
    parameters.sound(spec)
    if spec.retired or not spec.context_tokens:
        field = "retired" if spec.retired else "context_tokens"
        raise InvalidRequest("a new model must be in use and have a context", field=field)


_CHANGES: dict[type, Callable[[Context, Any], None]] = {
    ChangeChecks: _checks, ChangeEconomy: _economy, AddModel: _add, ChangeModel: _change, RetireModel: _retire,
}
