"""Account transactions: what each kind does and refuses, and which field a refusal names; a refused one leaves the
state's bytes as they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.errors import InvalidRequest
from p2p.base.keys import Domain, Key
from p2p.base.types import VERSION, Params, Record, RecordKind, Request, SignedRequest
from p2p.ledger.money.accounts import limits
from p2p.ledger.money.collateral import MAX_WITHDRAWALS, take
from p2p.ledger.participants.eligibility import checking, serving
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import capped, owner_weight
from p2p.ledger.rules.ops import Body, Cap, Delegate, Deposit, Revoke, Transfer, Unregister, Vote, Withdraw
from tests.ledger.account_transactions import (
    ECONOMY,
    WAIT,
    balance,
    lab_of,
    part,
    refused,
    registration,
    rotation,
    signed,
    submit,
)
from tests.ledger.lab import CLIENT, Lab, reputations

OTHER, HOT, FRESH = Key(b"\x71" * 32), Key(b"\x72" * 32), Key(b"\x73" * 32)
ESCROW = 1000  # of the lab's request
FEE = ECONOMY.registration_fee_micro


# -- what holds for every transaction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [Transfer(OTHER.public, 5), Cap(1, 1), Delegate(HOT.public, 1, 1, 99)], ids=lambda b: type(b).__name__
)
def test_network_signature_and_nonce_are_checked_first(body: Body) -> None:
    lab = lab_of()
    good = signed(lab, CLIENT, body)
    refused(lab, replace(good, signature=bytes(64)), "signature")
    refused(lab, replace(good, op=replace(good.op, account=OTHER.public)), "signature")
    refused(lab, replace(good, op=replace(good.op, network="m")), "network")
    refused(
        lab, signed(lab, CLIENT, body, nonce=1).__class__(good.op, CLIENT.sign(Domain.REQUEST, lab.network, b"")),
        "signature"
    )
    lab.put(lab.nodes[3], RecordKind.OP, good)
    refused(lab, good, "nonce")


def test_requests_and_account_transactions_share_the_nonces() -> None:
    lab = lab_of()
    lab.start()
    refused(lab, signed(lab, CLIENT, Cap(5, 5), nonce=1), "nonce")
    submit(lab, CLIENT, Cap(0, ESCROW))
    lab.nonces[CLIENT.public] = 1
    with pytest.raises(InvalidRequest, match="nonce 2 was used"):
        lab.start()


def test_a_transaction_whose_body_is_not_of_its_kind_is_refused() -> None:
    lab = lab_of()
    good = signed(lab, CLIENT, Cap(1, 1))
    op = replace(good.op, body=b"\x80")
    from p2p.base.codec import encode

    wrong = replace(good, op=op, signature=CLIENT.sign(Domain.OP, lab.network, encode(op)))
    with pytest.raises(Exception, match="wrong shape"):
        lab.put(lab.nodes[0], RecordKind.OP, wrong)
    assert lab.view.account(CLIENT.public).nonce_high == 0


# -- money -------------------------------------------------------------------------------------------------------------


def test_a_transfer_moves_what_is_there_and_no_more() -> None:
    lab = lab_of()
    lab.accounts.append(OTHER.public)
    submit(lab, CLIENT, Transfer(OTHER.public, 7))
    assert (balance(lab, CLIENT.public), balance(lab, OTHER.public)) == (10**9 - 7, 7)
    refused(lab, signed(lab, OTHER, Transfer(CLIENT.public, 8)), "amount_micro")
    submit(lab, CLIENT, Transfer(CLIENT.public, 10**9 - 7))
    assert balance(lab, CLIENT.public) == 10**9 - 7, "a transfer to itself changes nothing"
    lab.block()


def test_collateral_returns_when_it_has_waited_and_can_be_taken_until_then() -> None:
    lab, owner, node = lab_of(), None, None
    owner, node = lab.owners[2], lab.nodes[2]
    lab.block()
    refused(lab, signed(lab, owner, Deposit(node, 10**9 + 1)), "amount_micro")
    refused(lab, signed(lab, owner, Deposit(lab.nodes[3], 5)), "node")
    refused(lab, signed(lab, CLIENT, Deposit(node, 5)), "node")
    submit(lab, owner, Deposit(node, 100))
    assert lab.view.totals().collateral_micro == 100
    refused(lab, signed(lab, owner, Withdraw(node, 101)), "amount_micro")
    submit(lab, owner, Withdraw(node, 60))
    lab.block(2)
    assert take(lab.view, node, 70) == 70, "40 that stay, 30 on their way back"
    totals = lab.view.totals()
    lab.view.put_totals(replace(totals, burnt_micro=totals.burnt_micro + 70))
    lab.block(WAIT - 2)
    assert (part(lab, node).collateral_micro, len(part(lab, node).withdrawals)) == (0, 1), "too early"
    lab.block()
    assert (balance(lab, owner.public), part(lab, node).withdrawals) == (10**9 - 100 + 30, ())
    assert take(lab.view, node, 5) == 0


def test_each_withdrawal_waits_its_own_time() -> None:
    lab = lab_of()
    owner, node = lab.owners[2], lab.nodes[2]
    submit(lab, owner, Deposit(node, 100))
    submit(lab, owner, Withdraw(node, 3))
    lab.block()
    submit(lab, owner, Withdraw(node, 4))
    lab.block(WAIT)
    assert (balance(lab, owner.public), len(part(lab, node).withdrawals)) == (10**9 - 97, 1)
    lab.block()
    assert (balance(lab, owner.public), part(lab, node).withdrawals) == (10**9 - 93, ())


def test_withdrawals_that_wait_are_bounded() -> None:
    lab = lab_of()
    owner, node = lab.owners[2], lab.nodes[2]
    submit(lab, owner, Deposit(node, 100))
    for _ in range(MAX_WITHDRAWALS):
        submit(lab, owner, Withdraw(node, 1))
    refused(lab, signed(lab, owner, Withdraw(node, 1)), "node")
    lab.block(WAIT + 1)
    submit(lab, owner, Withdraw(node, 1))


def test_serving_needs_collateral_where_the_rules_say_so() -> None:
    lab = lab_of(economy=replace(ECONOMY, collateral_min_micro=50))
    assert serving(lab.ctx, "toy") == []
    submit(lab, lab.owners[1], Deposit(lab.nodes[1], 50))
    submit(lab, lab.owners[2], Deposit(lab.nodes[2], 49))
    assert [node for node, _ in serving(lab.ctx, "toy")] == [lab.nodes[1]]


# -- hot keys and caps -------------------------------------------------------------------------------------------------


def start_refused(lab: Lab, field: str, *, signer: Key | None = None) -> None:
    lab.block()
    before = dict(lab.view.changes)
    with pytest.raises(InvalidRequest) as caught:
        lab.start(signer=signer)
    assert caught.value.field == field, caught.value
    assert lab.view.changes == before
    lab.nonces[CLIENT.public] -= 1


def test_a_hot_key_signs_requests_within_its_caps_and_until_it_expires() -> None:
    lab = lab_of(epoch_blocks=50)
    start_refused(lab, "signer", signer=HOT)
    submit(lab, CLIENT, Delegate(HOT.public, 2 * ESCROW, ESCROW, 30))
    assert lab.start(signer=HOT).request.account == CLIENT.public
    lab.start(signer=HOT)
    start_refused(lab, "epoch_cap_micro", signer=HOT)
    lab.start()  # the account's own key has no cap
    submit(lab, CLIENT, Delegate(HOT.public, 9 * ESCROW, ESCROW - 1, 30))
    start_refused(lab, "request_cap_micro", signer=HOT)
    submit(lab, CLIENT, Delegate(HOT.public, 3 * ESCROW, ESCROW, 30))
    lab.start(signer=HOT)
    start_refused(lab, "epoch_cap_micro", signer=HOT)  # what it had spent before still counts
    lab.block(31 - lab.height)
    submit(lab, CLIENT, Delegate(HOT.public, 9 * ESCROW, ESCROW, 32))
    lab.block()
    lab.start(signer=HOT)
    start_refused(lab, "signer", signer=HOT)


def test_a_hot_key_signs_no_account_transaction_and_a_revoked_one_no_request() -> None:
    lab = lab_of()
    submit(lab, CLIENT, Delegate(HOT.public, 9 * ESCROW, ESCROW, 300))
    op = signed(lab, CLIENT, Transfer(HOT.public, 5))
    from p2p.base.codec import encode

    refused(lab, replace(op, signature=HOT.sign(Domain.OP, lab.network, encode(op.op))), "signature")
    submit(lab, CLIENT, Revoke(HOT.public))
    start_refused(lab, "signer", signer=HOT)
    refused(lab, signed(lab, CLIENT, Revoke(HOT.public)), "key")
    assert lab.view.get(b"limits/" + CLIENT.public) is None, "the state keeps nothing of it"


def test_an_account_has_eight_hot_keys_and_expired_ones_make_room() -> None:
    lab = lab_of()
    for at in range(8):
        submit(lab, CLIENT, Delegate(bytes([at]) * 32, 1, 1, 3 if at == 0 else 300))
    refused(lab, signed(lab, CLIENT, Delegate(HOT.public, 1, 1, 300)), "key")
    refused(lab, signed(lab, CLIENT, Delegate(CLIENT.public, 1, 1, 300)), "key")
    lab.block(3)
    refused(lab, signed(lab, CLIENT, Delegate(b"\x01" * 32, 1, 1, lab.height)), "expires")
    submit(lab, CLIENT, Delegate(HOT.public, 1, 1, 300))
    assert len(limits(lab.view, CLIENT.public).hot) == 8


def test_the_accounts_own_caps_bind_whoever_signs_and_begin_anew_with_the_epoch() -> None:
    lab = lab_of(epoch_blocks=20)
    submit(lab, CLIENT, Cap(2 * ESCROW, ESCROW))
    submit(lab, CLIENT, Delegate(HOT.public, 9 * ESCROW, ESCROW, 300))
    lab.start()
    lab.start(signer=HOT)
    start_refused(lab, "epoch_cap_micro")
    start_refused(lab, "epoch_cap_micro", signer=HOT)
    lab.block(21 - lab.height)
    lab.start()
    lab.start()
    start_refused(lab, "epoch_cap_micro")
    submit(lab, CLIENT, Cap(0, ESCROW - 1))
    start_refused(lab, "request_cap_micro")


# -- nodes -------------------------------------------------------------------------------------------------------------


def test_a_registered_node_belongs_to_one_account_and_begins_with_nothing() -> None:
    lab = lab_of()
    good = registration(lab, CLIENT, FRESH)
    refused(lab, signed(lab, OTHER, good), "proof")
    refused(lab, signed(lab, CLIENT, replace(good, node=OTHER.public)), "proof")
    refused(lab, signed(lab, CLIENT, registration(lab, CLIENT, FRESH, ("toy", "other"))), "model")
    submit(lab, CLIENT, good)
    assert (part(lab, FRESH.public).weight, part(lab, FRESH.public).reputation) == (0, 0)
    assert FRESH.public not in dict(serving(lab.ctx, "toy"))
    refused(lab, signed(lab, OTHER, registration(lab, OTHER, FRESH)), "node")
    refused(lab, signed(lab, CLIENT, registration(lab, CLIENT, lab.keys[1])), "node")
    submit(lab, CLIENT, registration(lab, CLIENT, FRESH, (), 3))
    assert (
        part(lab, FRESH.public).models, part(lab, FRESH.public).price_floor_micro
    ) == ((), 3), "its own account can change the offer"


def test_a_node_whose_floor_is_above_the_price_is_not_drawn_to_serve_but_to_check() -> None:
    lab = lab_of()
    submit(lab, lab.owners[1], registration(lab, lab.owners[1], lab.keys[1], floor=11))
    assert lab.nodes[1] not in dict(serving(lab.ctx, "toy"))
    assert lab.nodes[1] in dict(checking(lab.ctx, "toy"))


def test_a_leaving_node_is_not_drawn_any_more_and_gets_its_money_later() -> None:
    lab = lab_of()
    owner, node = lab.owners[1], lab.nodes[1]
    submit(lab, owner, Deposit(node, 100))
    submit(lab, owner, Withdraw(node, 30))
    refused(lab, signed(lab, CLIENT, Unregister(node)), "node")
    lab.block()
    submit(lab, owner, Unregister(node))
    assert node not in dict(serving(lab.ctx, "toy"))
    assert node not in dict(checking(lab.ctx, "toy"))
    key = lab.keys[1]
    for body in (
        Unregister(node), Deposit(node, 1), Withdraw(node, 1), registration(lab, owner, key),
        rotation(lab, owner, key, FRESH)
    ):
        refused(lab, signed(lab, owner, body), "node")
    assert take(lab.view, node, 80) == 80, "also a withdrawal that was waiting"
    totals = lab.view.totals()
    lab.view.put_totals(replace(totals, burnt_micro=totals.burnt_micro + 80))
    lab.block(WAIT)
    assert lab.view.participant(node) is not None
    lab.block()
    assert lab.view.participant(node) is None
    assert balance(lab, owner.public) == 10**9 - 80
    assert lab.view.totals().collateral_micro == 0
    submit(lab, CLIENT, registration(lab, CLIENT, lab.keys[1]))
    assert part(lab, node).owner == CLIENT.public


def test_an_answer_of_a_node_that_left_is_paid_to_its_last_owner() -> None:
    lab = lab_of(validation_delay=WAIT + 3)
    signed_request = lab.start()
    executor = lab.finish(signed_request.inference_id)
    at = lab.nodes.index(executor)
    submit(lab, lab.owners[at], Unregister(executor))
    lab.block(WAIT + 4)
    assert lab.view.participant(executor) is None
    lab.decide(signed_request.inference_id, lambda node: {})
    assert lab.status(signed_request.inference_id) == "VALIDATED"
    lab.block((-lab.height) % 20 + 1)  # the epoch's end pays it, less the validators' and the burnt share
    assert balance(lab, lab.owners[at].public) == 10**9 + 255


# -- rotation ----------------------------------------------------------------------------------------------------------


def test_everything_moves_to_the_new_key_and_the_old_one_never_returns() -> None:
    lab = lab_of()
    owner, old = lab.owners[1], lab.keys[1]
    submit(lab, owner, Deposit(old.public, 100))
    submit(lab, owner, Withdraw(old.public, 40))
    lab.view.put_conduct(old.public, replace(lab.view.conduct(old.public), finished=7))
    lab.view.put_participant(replace(part(lab, old.public), reputations=reputations(50)))
    good = rotation(lab, owner, old, FRESH)
    refused(lab, signed(lab, owner, replace(good, proof=bytes(64))), "proof")
    refused(lab, signed(lab, owner, replace(good, new_proof=bytes(64))), "new_proof")
    refused(lab, signed(lab, owner, rotation(lab, owner, old, lab.keys[2])), "new_node")
    refused(lab, signed(lab, CLIENT, rotation(lab, CLIENT, old, FRESH)), "node")
    submit(lab, owner, good)
    new = part(lab, FRESH.public)
    assert (
        new.node, new.owner, new.reputation, new.weight, new.collateral_micro
    ) == (FRESH.public, owner.public, 50, 10, 60)
    assert lab.view.conduct(FRESH.public).finished == 7
    assert {p.node for p in lab.view.participants()} == {FRESH.public, *lab.nodes} - {old.public}
    refused(lab, signed(lab, owner, Deposit(old.public, 1)), "node")
    refused(lab, signed(lab, owner, registration(lab, owner, old)), "node")
    refused(lab, signed(lab, owner, rotation(lab, owner, FRESH, old)), "new_node")
    again = Key(b"\x74" * 32)
    submit(lab, owner, rotation(lab, owner, FRESH, again))
    nodes = {part(lab, old.public).node, part(lab, FRESH.public).node}
    assert nodes == {again.public}, "the first key stands for the last"
    lab.block(WAIT + 1)
    assert (
        balance(lab, owner.public), part(lab, again.public).collateral_micro
    ) == (10**9 - 60 - 2 * FEE, 60), "a query by the old key finds it"
    submit(lab, owner, Unregister(again.public))
    lab.block(WAIT + 1)
    assert [lab.view.participant(key) for key in (old.public, FRESH.public, again.public)] == [None] * 3
    assert lab.view.owner_of(old.public) == lab.view.owner_of(again.public) == owner.public


def test_another_key_costs_the_registration_fee() -> None:
    """A rotated key stays in the state for ever, so it costs what a registration costs."""
    lab = lab_of()
    owner, old = lab.owners[1], lab.keys[1]
    submit(lab, owner, Transfer(CLIENT.public, 10**9 - FEE))
    submit(lab, owner, rotation(lab, owner, old, FRESH))
    assert balance(lab, owner.public) == 0
    assert lab.view.totals().burnt_micro == FEE
    refused(lab, signed(lab, owner, rotation(lab, owner, FRESH, Key(b"\x74" * 32))), "balance")


def test_open_answers_and_duties_of_a_rotated_key_end_without_a_crash() -> None:
    lab = lab_of()
    inference_id = lab.drawn()
    finish = lab.inference(inference_id).finish
    assert finish is not None
    executor, validator = finish.record.executor, lab.members(inference_id)[0]
    for node, new in ((executor, FRESH), (validator, OTHER)):
        at = lab.nodes.index(node)
        submit(lab, lab.owners[at], rotation(lab, lab.owners[at], lab.keys[at], new))
    lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)[1:]])
    second = lab.members(inference_id)
    assert not {OTHER.public, FRESH.public} & set(second), "the old key was drawn or served"
    lab.decide(inference_id, lambda node: {"valid": False})
    assert lab.status(inference_id) == "INVALIDATED"
    assert part(lab, FRESH.public).strikes == 1, "the new key is the same participant"
    assert lab.view.conduct(OTHER.public).missed == 1


# -- owners ------------------------------------------------------------------------------------------------------------


def test_an_owners_nodes_share_its_cap() -> None:
    lab = lab_of(owners={1: 0, 2: 0, 3: 0})
    weights = dict(serving(lab.ctx, "toy"))
    assert [weights[node] for node in lab.nodes] == [6, 6, 6, 6, 10, 10, 10, 10], "30 % of 80 are 24"
    assert owner_weight(lab.ctx, lab.nodes[0]) == 6
    assert owner_weight(lab.ctx, FRESH.public) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), min_size=1, max_size=12), st.integers(1, 1000))
def test_the_cap_holds_and_nobody_loses_all_weight(rows: list[tuple[int, int]], cap: int) -> None:
    known = [(bytes([at]), bytes([owner]), weight) for at, (owner, weight) in enumerate(rows)]
    counted, most = capped(known, cap), sum(weight for _, weight in rows) * cap // 1000
    for node, _, weight in known:
        assert (counted[node] > 0) == (weight > 0)
        assert counted[node] <= weight
    for owner in {owner for _, owner, _ in known}:
        mine = [(node, weight) for node, whose, weight in known if whose == owner]
        assert sum(counted[node] for node, _ in mine) <= max(most, 0) + len(mine), "each keeps at least 1"
        if sum(weight for _, weight in mine) <= most:
            assert all(counted[node] == weight for node, weight in mine)


def test_a_vote_on_an_unknown_proposal_is_refused() -> None:
    lab = lab_of()
    refused(lab, signed(lab, lab.owners[0], Vote(bytes(32), True)), "proposal")


def test_a_request_names_its_signer() -> None:
    lab = lab_of()
    lab.block()
    body = Request(VERSION, lab.network, CLIENT.public, 1, "toy", bytes(32), Params(), 50, 50, 100, 40, HOT.public, 1)
    from p2p.base.codec import encode
    from p2p.base.types import StartRecord
    from p2p.ledger.apply_record import apply_record

    request = SignedRequest(body, CLIENT.sign(Domain.REQUEST, lab.network, encode(body)))
    record = Record(RecordKind.START, encode(StartRecord(request, lab.nodes[0])))
    with pytest.raises(InvalidRequest, match="signature"):
        apply_record(Context(lab.view, lab.genesis, 2), lab.nodes[0], record)
