"""Whose node is whose. Law: a node key belongs to one account, and agreed to it; a key that was given up never comes
back.

A node that leaves draws no more work at once, and its owner gets collateral and bond back after `withdraw_wait`. What
is still on its way to a given-up key finds the key's successor. A node that left keeps its last owner in the state,
who is paid for answers that are still being checked.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, verify
from p2p.ledger.conduct.convictions import inherited, remember
from p2p.ledger.money.collateral import after_slashing, held, hold, own_node, release
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
    """Carry out a REGISTER: add a participant, or change what one of the account's own offers.

    A new one has no weight and no reputation, but answers for what its key or its owner's nodes were convicted of.
    Raises InvalidRequest or Overloaded, naming the field.
    """
    if not verify(body.node, Domain.NODE, ctx.genesis.network, consent(account), body.proof):
        raise InvalidRequest("the node key did not sign that it belongs to this account", field="proof")
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
    if len(ctx.view.ids(keys.nodes_of(account))) >= MAX_NODES:
        raise InvalidRequest(f"an account has at most {MAX_NODES} nodes; unregister one", field="node")
    if (waiting := held(ctx.view, node)) is not None and waiting.owner != account:  # else it would go to the new owner
        until = f"until height {waiting.until} money of its former owner is held for it"
        raise InvalidRequest(f"this node key was evicted, and {until}; register it then", field="node")
    places.count_new(ctx)
    places.pay(ctx, account)
    places.check_room(ctx)
    bond = ctx.economy.registration_bond_micro
    fresh = Participant(node, account, 0, (), bond_micro=bond, active=ctx.height)
    made = inherited(ctx, fresh, nodes_of(ctx.view, account))
    ctx.view.put(keys.PARTICIPANTS, encode(sorted([*ctx.view.ids(keys.PARTICIPANTS), node])))
    ctx.view.add_id(keys.nodes_of(account), node)
    ctx.view.put(keys.last_owner(node), None)
    ctx.view.put(keys.conduct(node), None)
    return made


def unregister(ctx: Context, account: bytes, body: Unregister) -> None:
    """Carry out an UNREGISTER: the node draws nothing from now on, and is released `withdraw_wait` heights later."""
    participant = own_node(ctx.view, account, body.node)
    at = ctx.height + ctx.economy.withdraw_wait
    ctx.view.put_participant(replace(participant, leaving=at))
    ctx.view.add_due(at, keys.DUE_LEAVE + body.node)


def leave(ctx: Context, node: bytes) -> None:
    """At the end of a block: the wait is over. It is prolonged where the collateral may still be slashed
    (`after_slashing`).
    """
    participant = ctx.view.participant(node)
    if participant is None or participant.leaving != ctx.height:
        return
    later = after_slashing(ctx, participant)
    if later:
        ctx.view.put_participant(replace(participant, leaving=later))
        ctx.view.add_due(later, keys.DUE_LEAVE + node)
        return
    release(ctx.view, participant)
    _remove(ctx.view, participant)


def make_room(ctx: Context) -> None:
    """At the end of a block: evict those whose places newcomers have taken. What they held waits as after UNREGISTER.
    """
    for participant in places.too_many(ctx):
        hold(ctx, participant)
        _remove(ctx.view, participant)


def _remove(view: View, participant: Participant) -> None:
    """Remove a participant. The CALLER has paid out, or holds, what it had at stake."""
    node = participant.node
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
    view.put(keys.conduct(participant.node), None)


def rotate_key(ctx: Context, account: bytes, body: Rotate) -> None:
    """Carry out a ROTATE: everything of a participant moves to another key, for a fee.

    Answers and duties of the old key can be ended by the old key only, or they run out. Raises
    InvalidRequest(field='node', 'proof', 'new_proof', 'new_node' or 'balance').
    """
    view, participant = ctx.view, own_node(ctx.view, account, body.node)
    words = consent_to_rotate(account, body.node, body.new_node)
    for field, key, proof in (("proof", body.node, body.proof), ("new_proof", body.new_node, body.new_proof)):
        if not verify(key, Domain.NODE, ctx.genesis.network, words, proof):
            raise InvalidRequest("this node key did not sign the change", field=field)
    if view.participant(body.new_node) is not None or view.get(keys.first_key(body.new_node)) is not None:
        raise InvalidRequest("this node key is or was another participant's; make a new one", field="new_node")
    places.pay_for_key(ctx, account)
    conduct, origin = view.conduct(body.node), participant.origin or body.node
    _forget(view, participant)
    move_disputes(view, body.node, body.new_node)
    view.put(keys.last_owner(body.new_node), None)
    view.put(keys.first_key(body.node), origin)
    view.put(keys.key_now(origin), body.new_node)
    view.put_participant(replace(participant, node=body.new_node, origin=origin))
    view.put_conduct(body.new_node, conduct)
    for name in (keys.PARTICIPANTS, keys.nodes_of(account)):
        view.put(name, encode(sorted(body.new_node if node == body.node else node for node in view.ids(name))))


def nodes_of(view: View, account: bytes) -> list[Participant]:
    """The account's participants, those that are leaving as well."""
    return [p for node in view.ids(keys.nodes_of(account)) if (p := view.participant(node)) is not None]
