"""Kinds of account transactions.

Law: the present state allows each original, so a variant reaches the ledger, and an accepted one goes into a block. Its
account signs it, whichever peer sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2p.base.codec import encode, unpack
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.outcome import Outcome
from p2p.base.types import Status
from p2p.chain.account_transactions import AccountTransactions
from p2p.ledger import governance
from p2p.ledger.money.accounts import limits
from p2p.ledger.money.collateral import MAX_WITHDRAWALS
from p2p.ledger.rules import ops
from p2p.ledger.state.records import Participant
from p2p.ledger.transactions import pack_operation
from tests.fuzz import life
from tests.fuzz.kind import Kind, Make, is_on_chain
from tests.fuzz.world import CLIENT, GENESIS, MODEL, NETWORK, OTHER_MODEL, OWNER, VALIDATOR, WHO, Spent, World

Sent = tuple[bytes, Callable[[], Outcome]]
HOT = Key(b"\x6a" * 32)
AMOUNT = 1000
# at most three in a transaction, each verified on admission, when a block is filled and in the block; and a batch
SIGNATURES = 12


def _op(world: World, key: Key, op: ops.Op) -> Sent:
    """By gossip, and into a block when accepted; before that, to the admission check for submitted transactions."""
    del key
    signed = ops.SignedOp(op, CLIENT.sign(Domain.OP, op.network, encode(op)))
    raw, door = pack_operation(signed), AccountTransactions(world.chain, lambda: world.now_ms / 1000)

    def take() -> Outcome:
        at_door = world.attempt(lambda: door.take(unpack(ops.SignedOp, encode(signed))))
        by_gossip = world.transaction(raw)
        return at_door if by_gossip is Outcome.ACCEPT else by_gossip

    return raw, take


def _as_operation(world: World, key: Key, body: Any) -> Sent:
    nonce = world.chain.answers.account(CLIENT.public).next_nonce
    return _op(world, key, ops.Op(NETWORK, CLIENT.public, nonce, ops.KIND_OF[type(body)], encode(body)))


def _an_op(world: World, key: Key) -> ops.Op:
    del key
    nonce = world.chain.answers.account(CLIENT.public).next_nonce
    return ops.Op(NETWORK, CLIENT.public, nonce, ops.OpKind.TRANSFER, encode(ops.Transfer(b"\x09" * 32, 5)))


# -- participants --------------------------------------------------------------------------------------------


def _spare(world: World) -> tuple[Key, Participant]:
    """(key, record) of a node of the client that no other test needs and that is not leaving."""
    for key in world.movable():
        participant = world.view().participant(key.public)
        if participant is not None and participant.node == key.public and not participant.leaving:
            return key, participant
    world.submit(CLIENT, world.registration(world.new_node()))
    return _spare(world)


def _rotate(world: World) -> ops.Rotate:
    (old, _), new = _spare(world), world.new_node()
    words = ops.consent_to_rotate(CLIENT.public, old.public, new.public)
    return ops.Rotate(old.public, new.public, *(key.sign(Domain.NODE, NETWORK, words) for key in (old, new)))


def _withdraw(world: World) -> ops.Withdraw:
    key, participant = _spare(world)
    if len(participant.withdrawals) >= MAX_WITHDRAWALS:
        raise Spent("too many withdrawals wait")
    if participant.collateral_micro < AMOUNT:
        world.submit(CLIENT, ops.Deposit(key.public, 2 * AMOUNT))
    return ops.Withdraw(key.public, AMOUNT)


# -- hot keys, votes, appeals --------------------------------------------------------------------------------


def _delegate(world: World) -> ops.Delegate:
    return ops.Delegate(HOT.public, AMOUNT, AMOUNT, world.chain.height() + life.MOST)


def _revoke(world: World) -> ops.Revoke:
    if all(hot.key != HOT.public for hot in limits(world.view(), CLIENT.public).hot):
        world.submit(CLIENT, _delegate(world))
    return ops.Revoke(HOT.public)


def _propose(change: ops.Change) -> Callable[[World], ops.Propose]:
    def make(world: World) -> ops.Propose:
        life.until(world, lambda: not _open_one(world, CLIENT))
        return ops.Propose(change)

    return make


def _open_one(world: World, account: Key) -> bytes | None:
    """The key of the account's open proposal, or None."""
    found = governance.proposals(world.view())
    return next((key for key, one in found if one.state == governance.OPEN and one.account == account.public), None)


def _vote_in(world: World, key: Key) -> None:
    """Accept the proposal and grow until its rule is in force; the chain must still grow under it.

    Only for one sender: the same account signs for all of them.
    """
    proposal = _open_one(world, CLIENT)
    if key is VALIDATOR and proposal is not None:
        world.submit(OWNER, ops.Vote(proposal, True))
        world.grow(GENESIS.epoch_blocks - world.chain.height() % GENESIS.epoch_blocks + 1)
        world.kept["decided"] = proposal


def _is_in_force(world: World, key: Key) -> bool:
    """The proposal is on chain; the one that was voted on is in force."""
    found = governance.proposal(world.view(), world.kept["decided"]) if key is VALIDATOR else None
    return found.state == governance.IN_FORCE if found is not None else world.is_carried_out()


def _vote(world: World) -> ops.Vote:
    key = _open_one(world, OWNER)
    known = governance.proposal(world.view(), key) if key else None
    voted = known is not None and any(cast.account == CLIENT.public for cast in known.votes)
    if known is not None and (voted or known.closes <= world.chain.height()):
        life.until(world, lambda: not _open_one(world, OWNER))
        key = None
    if key is None:
        world.submit(OWNER, ops.Propose(ops.ChangeEconomy((("gov_window", 4),))))
        key = _open_one(world, OWNER)
    assert key is not None
    return ops.Vote(key, True)


def _appeal(world: World) -> ops.Appeal:
    one = life.open_one(world, "appeal", lambda: life.appealable(world), Status.APPEALABLE)
    found = life.inference(world, one)
    if found.appeal is not None or found.appeal_until <= world.chain.height() + 1:
        one = world.kept["appeal"] = life.appealable(world)
    return ops.Appeal(one)


# -- all -----------------------------------------------------------------------------------------------------

CHANGES: tuple[ops.Change, ...] = (
    ops.ChangeChecks((("reveal_window", 4),)), ops.ChangeEconomy((("withdraw_wait", 2),)),
    ops.AddModel(ModelSpec("another", bytes(32), bytes(32), "bfloat16", 10, 1, 2048)),
    ops.ChangeModel(MODEL, (("price_micro", 10),)), ops.RetireModel(OTHER_MODEL),
)
_BODIES: tuple[tuple[str, Callable[[World], ops.Body]], ...] = (
    ("Transfer", lambda world: ops.Transfer(b"\x09" * 32, 5)),
    ("Register", lambda world: world.registration(world.new_node())),
    ("Unregister", lambda world: ops.Unregister(_spare(world)[0].public)),
    ("Rotate", _rotate),
    ("Deposit", lambda world: ops.Deposit(_spare(world)[0].public, AMOUNT)),
    ("Withdraw", _withdraw),
    ("Delegate", _delegate),
    ("Revoke", _revoke),
    ("Cap", lambda world: ops.Cap(10**9, 10**9)),
    ("Vote", _vote),
    ("Appeal", _appeal),
)


def _body(make: Callable[[World], ops.Body]) -> Make:
    return lambda world, key: make(world)


ACCOUNT_TRANSACTIONS = (
    Kind("account transaction", _an_op, _op, signatures=SIGNATURES, by=tuple(WHO), effect=is_on_chain),
    *(
        Kind(
            f"account transaction {name}", _body(make), _as_operation, signatures=SIGNATURES, by=tuple(WHO),
            effect=is_on_chain,
        )
        for name, make in _BODIES
    ),
    *(
        Kind(
            f"account transaction Propose {type(change).__name__}", _body(_propose(change)), _as_operation,
            signatures=SIGNATURES, by=tuple(WHO), after=_vote_in, effect=_is_in_force,
        )
        for change in CHANGES
    ),
)
