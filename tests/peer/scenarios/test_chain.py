"""Scenarios of the chain alone, on the pure ledger: who may say what, when money moves, whose fault costs what."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.genesis import EconomyRules, Genesis, GenesisAccount, GenesisChange, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.types import (
    VERSION,
    Batch,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Record,
    RecordKind,
    SignedBatch,
    SignedFinish,
    StartRecord,
)
from p2p.chain.chain import Chain
from p2p.ledger.apply_record import DRAW_WINDOW
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.price import price_of
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.ops import Transfer, Unregister
from tests.chains import extend
from tests.ledger.account_transactions import refused, signed, submit
from tests.ledger.lab import CLIENT, PRICE, PROMPT, STEADY, TOKENS_HASH, Lab
from tests.ledger.money.test_money import signed_request

FULL, COST = 10**9, (PROMPT + 10) * PRICE


def balance(lab: Lab, account: Key = CLIENT) -> int:
    return lab.view.account(account.public).balance_micro


def model_price(lab: Lab) -> int:
    return price_of(lab.view, lab.genesis.models[0])


def served_by(lab: Lab) -> set[bytes]:
    return {node for node, _ in serving(lab.ctx, "toy")}


def nothing_changes(lab: Lab, sender: bytes, kind: RecordKind, body: object) -> str:
    """The record is refused; the field it was refused for."""
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError) as caught:
        lab.put(sender, kind, body)
    assert lab.view.changes == before
    return caught.value.field


# -- signatures and order --------------------------------------------------------------------------------------------


def test_only_the_agent_itself_starts_and_reports() -> None:
    lab = Lab()
    lab.block()
    request = signed_request(lab)
    agent, other = lab.nodes[:2]
    assert nothing_changes(lab, other, RecordKind.START, StartRecord(request, agent)) == "agent"
    forged = replace(request, signature=lab.keys[0].sign(Domain.REQUEST, lab.network, encode(request.request)))
    assert nothing_changes(lab, agent, RecordKind.START, StartRecord(forged, agent)) == "signature"
    started = lab.start()
    for sender, named in ((other, agent), (other, other)):
        output = OutputRecord(started.inference_id, named, TOKENS_HASH, 10)
        assert nothing_changes(lab, sender, RecordKind.OUTPUT, output) == "agent"


def test_a_raw_start_is_no_transaction(tmp_path: Path) -> None:
    """A stranger's batch, and a participant's that somebody else signed, never come into a block."""
    keys = [Key(bytes([i + 1]) * 32) for i in range(4)]
    genesis = Genesis(
        VERSION, "n", 1000, tuple(GenesisPeer(k.public, k.public, 10, ("toy",)) for k in keys),
        (GenesisAccount(CLIENT.public, FULL),),
        (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, 2048),),
    )
    chain = Chain.open(tmp_path, genesis)
    extend(chain, 1, {k.public: k for k in keys}, lambda height: 1000 + height * 1000)
    start = Record(RecordKind.START, encode(StartRecord(signed_request(Lab()), keys[0].public)))
    for sender, signer, field in ((CLIENT, CLIENT, "sender"), (keys[0], CLIENT, "signature"), (keys[0], keys[0], "")):
        batch = Batch(VERSION, genesis.network, sender.public, 1, (start,))
        raw = encode(SignedBatch(batch, signer.sign(Domain.TX, genesis.network, encode(batch))))
        if not field:
            chain.pool.add(raw)
            continue
        with pytest.raises(FolkmootError) as caught:
            chain.pool.add(raw)
        assert (caught.value.field, type(caught.value)) == (
            field, Unavailable if field == "sender" else RemoteProtocolError
        )
    chain.close()


def test_a_duplicate_start_changes_nothing() -> None:
    lab = Lab()
    started = lab.start()
    for agent in lab.nodes[:2]:
        assert nothing_changes(lab, agent, RecordKind.START, StartRecord(started, agent)) == "inference_id"
    same_nonce = signed_request(lab, client_nonce=started.request.client_nonce, max_tokens=49)
    assert nothing_changes(lab, lab.nodes[0], RecordKind.START, StartRecord(same_nonce, lab.nodes[0])) == "client_nonce"
    assert balance(lab) == FULL - 100 * PRICE


def early_finish(lab: Lab, ghost: Lab) -> StartRecord:
    """A Finish for a request that `ghost` has started and `lab` has not seen."""
    request = ghost.start()
    executor = ghost.inference(request.inference_id).candidates[0]
    record = FinishRecord(request.inference_id, executor, bytes(32), TOKENS_HASH, PROMPT, 10, FinishReason.STOP)
    lab.put(
        executor, RecordKind.FINISH,
        SignedFinish(record, lab.by_node[executor].sign(Domain.FINISH, lab.network, encode(record)))
    )
    return StartRecord(request, lab.nodes[0])


def test_a_finish_waits_for_its_start() -> None:
    lab, ghost = Lab(), Lab()
    lab.block()
    ghost.block()
    start = early_finish(lab, ghost)
    assert lab.view.inference(start.signed_request.inference_id) is None
    assert balance(lab) == FULL
    lab.put(lab.nodes[0], RecordKind.START, start)
    assert lab.status(start.signed_request.inference_id) == "FINISHED"
    assert balance(lab) == FULL - COST


def test_a_finish_without_a_start_is_forgotten() -> None:
    lab, ghost = Lab(), Lab()
    lab.block()
    ghost.block()
    start = early_finish(lab, ghost)
    waiting = b"early/" + start.signed_request.inference_id
    assert lab.view.ids(waiting)
    lab.block(DRAW_WINDOW + 1)
    assert not lab.view.ids(waiting)
    assert nothing_changes(lab, lab.nodes[0], RecordKind.START, start) == "draw_height", "its draw is too old by then"


# -- money -----------------------------------------------------------------------------------------------------------


def test_what_is_owed_cannot_be_spent_before_it_is_settled() -> None:
    lab = Lab(epoch_blocks=60)
    inference_id = lab.drawn(executor=lab.nodes[1])
    owner = lab.owners[1]
    assert (lab.inference(inference_id).due_micro, lab.view.totals().due_micro) == (COST, COST), "owed to nobody yet"
    lab.decide(inference_id, lambda node: {})
    booked = earnings.earning(lab.view, 0, lab.nodes[1])
    assert booked is not None
    assert (
        booked.fees_micro, booked.paid_micro, lab.view.totals().due_micro, balance(lab, owner)
    ) == (COST, 0, COST, FULL)
    refused(lab, signed(lab, owner, Transfer(CLIENT.public, FULL + 1)), "amount_micro")
    lab.block(61 - lab.height)
    gained = balance(lab, owner) - FULL
    assert lab.view.totals().due_micro == 0
    assert gained >= COST * 850 // 1000
    submit(lab, owner, Transfer(CLIENT.public, FULL + gained))


@pytest.mark.parametrize("how", ["EXPIRED", "INVALIDATED", "UNCONFIRMED"])
def test_whatever_fails_the_client_has_everything_back(how: str) -> None:
    lab = Lab()
    if how == "EXPIRED":
        inference_id = lab.start(deadline=5).inference_id
        assert balance(lab) == FULL - 100 * PRICE
        lab.block(6)
    elif how == "INVALIDATED":
        inference_id = lab.drawn()
        assert balance(lab) == FULL - COST
        lab.decide(inference_id, lambda node: {"valid": False})
    else:
        inference_id = lab.start().inference_id
        lab.finish(inference_id, output=False)
        lab.output(inference_id, 9)
        lab.block(2)
    found = lab.inference(inference_id)
    assert (found.status, found.paid_micro, balance(lab)) == (how, 0, FULL)
    assert found.refunded_micro in (COST, 100 * PRICE)


def test_the_price_of_the_start_is_paid_whatever_it_is_at_finish_and_settlement() -> None:
    lab = Lab(epoch_blocks=60, economy=EconomyRules(price_window=2))
    lab.block(3)
    request = lab.start()
    locked = model_price(lab)
    lab.block(4)
    at_finish = model_price(lab)
    executor = lab.finish(request.inference_id)
    lab.block(2)
    lab.decide(request.inference_id, lambda node: {})
    at_settlement = model_price(lab)
    assert at_settlement < at_finish < locked, "nobody asks for much: it falls"
    found, booked = lab.inference(request.inference_id), earnings.earning(lab.view, 0, executor)
    assert booked is not None
    assert (found.price_micro, found.paid_micro, booked.fees_micro) == (locked, 30 * locked, 30 * locked)
    assert balance(lab) == FULL - 30 * locked


# -- power and presence ----------------------------------------------------------------------------------------------


def test_without_weight_nobody_is_drawn_and_with_it_again() -> None:
    """The weight is set by hand: today nothing but the genesis file gives any."""
    lab = Lab(epoch_blocks=1000)
    lab.block()
    node = lab.nodes[1]
    with_weight = lab.view.participant(node)
    assert with_weight is not None

    def draws() -> int:
        return sum(node in lab.inference(lab.start(deadline=900).inference_id).candidates[:3] for _ in range(20))

    assert draws() > 0
    lab.view.put_participant(replace(with_weight, weight=0))
    lab.block()  # a draw is made from the set as of a block's end
    assert draws() == 0
    lab.view.put_participant(with_weight)
    lab.block()
    assert draws() > 0


def test_a_planned_change_takes_the_vote_and_gives_it_back(tmp_path: Path) -> None:
    keys = [Key(bytes([i + 1]) * 32) for i in range(4)]
    node = keys[0].public
    genesis = Genesis(
        VERSION, "n", 1000, tuple(GenesisPeer(k.public, k.public, 10, ("toy",)) for k in keys), (),
        (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, 2048),), epoch_blocks=4,
        changes=(GenesisChange(1, node, 0), GenesisChange(3, node, 10)),
    )
    chain = Chain.open(tmp_path, genesis)
    votes = {}
    for height in range(1, 17):
        votes[height] = node in dict(chain.validators())
        extend(chain, height, {k.public: k for k in keys}, lambda height: 1000 + height * 1000)
    chain.close()
    assert [height for height, has in votes.items() if not has] == list(
        range(5, 13)
    ), "epochs 1 and 2, no height more or less"


@pytest.mark.parametrize("how", ["leaves", "suspended", "convicted"])
def test_a_node_that_is_disabled_in_mid_epoch_draws_nothing_and_its_earned_fees_follow_the_rule(how: str) -> None:
    """Who leaves or is suspended keeps what was booked (M8); who is convicted forfeits it (M7). Requests go to the
    others meanwhile."""
    lab = Lab(epoch_blocks=100)
    node, owner = lab.nodes[1], lab.owners[1]
    lab.decide(lab.drawn(executor=node), lambda _: {})
    assert node in served_by(lab)
    if how == "leaves":
        submit(lab, owner, Unregister(node))
        lab.block()  # a draw is made from the set as of a block's end
    elif how == "suspended":
        disagree_until_suspended(lab, node)
    else:
        while not lab.view.participant(node).convicted_until:  # type: ignore[union-attr]
            lab.decide(lab.drawn(executor=node), lambda _: {"valid": False})
    assert lab.height < 100, "in mid-epoch"
    assert served_by(lab) == set(lab.nodes) - {node}
    for _ in range(5):
        candidates = lab.inference(lab.start(deadline=900).inference_id).candidates
        assert candidates
        assert node not in candidates
    lab.block(101 - lab.height)
    found = earnings.earning(lab.view, 0, node)
    assert found is not None
    kept = COST - COST * STEADY.burn_share_milli // 1000 - COST * STEADY.validator_share_milli // 1000
    assert (found.paid_micro, found.forfeited_micro) == ((0, COST) if how == "convicted" else (kept, 0))


def disagree_until_suspended(lab: Lab, node: bytes) -> None:
    """It finishes for all agents in turn, and says something else than they streamed."""
    for at in range(200):
        agent = (2, 3, 4, 5, 6, 7, 0)[at % 7]
        request = lab.start(agent=agent)
        if node in lab.inference(request.inference_id).candidates:
            lab.finish(request.inference_id, node, output=False)
            lab.output(request.inference_id, 9)
        if at % 35 == 34:
            lab.block(2)
        if lab.view.participant(node).suspended_until:  # type: ignore[union-attr]
            return
    raise AssertionError("not suspended")
