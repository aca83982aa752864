"""Whose node is whose. Law: a node key belongs to one account and agreed to it; who leaves draws no more work at once and gets node and
collateral back later; a key that was given up never comes back, and what is still on its way to it finds its successor.

State: `parts` (all node keys), `part/<node>`, `nodes/<account>`; of rotated keys `moved/<old>` -> first key, `line/<first key>` -> key
now; `gone/<node>` -> last owner of one that left, who is paid for answers still being checked.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, verify
from p2p.ledger.conduct.convictions import inherited, remember
from p2p.ledger.money.collateral import after_slashing, own_node, release
from p2p.ledger.participants import places
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import live_spec
from p2p.ledger.rules.ops import Register, Rotate, Unregister, consent, consent_to_rotate
from p2p.ledger.state import keys
from p2p.ledger.state.open_disputes import move_disputes
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View

MAX_NODES = 16  # of one account


def first_participants(view: View, genesis: Genesis) -> None:
    for peer in genesis.peers:
        view.put_participant(Participant(peer.node, peer.owner, peer.weight, peer.models))
        view.add_id(keys.nodes_of(peer.owner), peer.node)
    view.put(keys.PARTICIPANTS, encode(sorted(peer.node for peer in genesis.peers)))


def register(ctx: Context, account: bytes, body: Register) -> None:
    """A new participant begins with nothing: no weight, no reputation; but with what its key or its owner's nodes were convicted of. One of
    the account's own changes what it offers."""
    if not verify(body.node, Domain.NODE, ctx.genesis.network, consent(account), body.proof):
        raise InvalidRequest("the node key did not agree to belong to this account", field="proof")
    for model in body.models:
        allowed = live_spec(ctx.view, model).stacks
        if allowed and body.stacks and not set(allowed) & set(body.stacks):
            raise InvalidRequest(f"{model} may be served on {', '.join(allowed)} only", field="stacks")
    if ctx.view.get(keys.first_key(body.node)) is not None:
        raise InvalidRequest("this node key was given up; make a new one", field="node")
    known = ctx.view.participant(body.node)
    before = own_node(ctx.view, account, body.node) if known else _new(ctx, account, body.node)
    ctx.view.put_participant(replace(
        before, models=tuple(sorted(set(body.models))), stacks=body.stacks, price_floor_micro=body.price_floor_micro,
        metadata=body.metadata,
    ))


def _new(ctx: Context, account: bytes, node: bytes) -> Participant:
    rules = ctx.economy
    if len(ctx.view.ids(keys.nodes_of(account))) >= MAX_NODES:
        raise InvalidRequest(f"an account has at most {MAX_NODES} nodes", field="node")
    places.count_new(ctx)
    places.pay(ctx, account, rules)
    places.check_room(ctx)
    fresh = Participant(node, account, 0, (), bond_micro=rules.registration_bond_micro, active=ctx.height)
    made = inherited(ctx, fresh, nodes_of(ctx.view, account))
    ctx.view.put(keys.PARTICIPANTS, encode(sorted([*ctx.view.ids(keys.PARTICIPANTS), node])))
    ctx.view.add_id(keys.nodes_of(account), node)
    ctx.view.put(keys.last_owner(node), None)
    ctx.view.put(keys.standing(node), None)
    return made


def unregister(ctx: Context, account: bytes, body: Unregister) -> None:
    participant = own_node(ctx.view, account, body.node)
    at = ctx.height + ctx.economy.withdraw_wait
    ctx.view.put_participant(replace(participant, leaving=at))
    ctx.view.add_due(at, keys.DUE_LEAVE + body.node)


def leave(ctx: Context, node: bytes) -> None:
    """At the end of block `height`: the time is over, unless it was convicted in this epoch, or a case of it is open: then the collateral may
    still be slashed."""
    participant = ctx.view.participant(node)
    if participant is None or participant.leaving != ctx.height:
        return
    later = after_slashing(ctx, participant)
    if later:
        ctx.view.put_participant(replace(participant, leaving=later))
        ctx.view.add_due(later, keys.DUE_LEAVE + node)
        return
    _let_go(ctx.view, participant)


def make_room(ctx: Context) -> None:
    """At the end of block `height`: newcomers are here, and those whose places they take go."""
    for participant in places.too_many(ctx):
        _let_go(ctx.view, participant)


def _let_go(view: View, participant: Participant) -> None:
    """It is no participant any more and its owner has all that it held."""
    node = participant.node
    release(view, participant)
    remember(view, participant)
    _forget(view, participant)
    for key in {node, participant.origin or node}:
        view.put(keys.last_owner(key), participant.owner)
    if participant.origin:
        view.put(keys.key_now(participant.origin), None)
    view.remove_id(keys.PARTICIPANTS, node)
    view.remove_id(keys.nodes_of(participant.owner), node)


def _forget(view: View, participant: Participant) -> None:
    view.put(keys.participant(participant.node), None)
    view.put(keys.standing(participant.node), None)


def rotate_key(ctx: Context, account: bytes, body: Rotate) -> None:
    """Everything moves; an answer or a duty of the old key is ended by the old key, or runs out."""
    participant = own_node(ctx.view, account, body.node)
    words = consent_to_rotate(account, body.node, body.new_node)
    for field, key, proof in (("proof", body.node, body.proof), ("new_proof", body.new_node, body.new_proof)):
        if not verify(key, Domain.NODE, ctx.genesis.network, words, proof):
            raise InvalidRequest("this node key did not agree to the change", field=field)
    if ctx.view.participant(body.new_node) is not None or ctx.view.get(keys.first_key(body.new_node)) is not None:
        raise InvalidRequest("this node key is or was another participant's", field="new_node")
    standing, origin = ctx.view.standing(body.node), participant.origin or body.node
    _forget(ctx.view, participant)
    move_disputes(ctx.view, body.node, body.new_node)
    ctx.view.put(keys.last_owner(body.new_node), None)
    ctx.view.put(keys.first_key(body.node), origin)
    ctx.view.put(keys.key_now(origin), body.new_node)
    ctx.view.put_participant(replace(participant, node=body.new_node, origin=origin))
    ctx.view.put_standing(body.new_node, standing)
    for name in (keys.PARTICIPANTS, keys.nodes_of(account)):
        ctx.view.put(name, encode(sorted(body.new_node if node == body.node else node for node in ctx.view.ids(name))))


def nodes_of(view: View, account: bytes) -> list[Participant]:
    """The account's participants, those that are leaving as well."""
    return [p for node in view.ids(keys.nodes_of(account)) if (p := view.participant(node)) is not None]
