"""What a peer reads from its chain about inferences: duties by phase, who may fetch a payload, the answer to
`verification`."""

from __future__ import annotations

import pytest
from msgspec import to_builtins

from p2p.base.codec import encode
from p2p.base.types import verdict_commitment
from p2p.chain.views import accounts
from p2p.chain.views.accounts import escrow_rows
from p2p.chain.views.conduct import verification_answer
from p2p.chain.views.inferences import Owed, duties, inference_answer, may_fetch, owed
from tests.ledger.lab import Lab


def test_duties_are_to_commit_then_to_reveal_then_none() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    node, other, silent = lab.members(inference_id)
    (first,) = duties(lab.view, node)
    assert (first.inference_id, first.commitment, first.beacon) == (
        inference_id, None, lab.inference(inference_id).committees[0].beacon
    )
    verdict = lab.verdict(inference_id, node)
    lab.commit(verdict)
    assert duties(lab.view, node) == [], "committed, not yet time to reveal"
    assert owed(lab.view, node) == [Owed(first.height, committed=True)], "but it is not over"
    assert owed(lab.view, silent) == [Owed(first.height, committed=False)]
    lab.commit(lab.verdict(inference_id, other))
    lab.until(inference_id, lambda found: found.committees[-1].revealing)
    (second,) = duties(lab.view, node)
    assert second.commitment == verdict_commitment(verdict)
    assert duties(lab.view, silent) == owed(lab.view, silent) == [], "too late to commit"
    assert owed(lab.view, node) == [Owed(first.height, committed=True)]
    lab.reveal(verdict)
    assert duties(lab.view, node) == owed(lab.view, node) == []
    outsider = next(n for n in lab.nodes if n not in lab.members(inference_id))
    assert duties(lab.view, outsider) == []


def test_only_the_agent_and_validators_may_have_the_payload() -> None:
    lab = Lab()
    signed = lab.start(agent=0)
    inference_id = signed.inference_id
    lab.finish(inference_id)
    assert not any(may_fetch(lab.view, inference_id, key.peer_id) for key in lab.keys[1:]), "nobody is drawn yet"
    lab.block(2)
    lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)])
    allowed = {lab.nodes[0], *lab.inference(inference_id).members}
    assert len(lab.inference(inference_id).members) == 6, "both committees"
    assert {key.public for key in lab.keys if may_fetch(lab.view, inference_id, key.peer_id)} == allowed
    assert not may_fetch(lab.view, bytes(32), lab.keys[0].peer_id)


def test_the_views_are_plain_data_and_say_what_happened() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    lab.decide(inference_id, lambda node: {"valid": False})
    found = inference_answer(inference_id, lab.inference(inference_id))
    assert encode(to_builtins(found))
    assert (found.status, len(found.committees), len(found.verdicts)) == ("INVALIDATED", 2, 6)
    assert found.dispute_height == found.committees[1].height
    view = verification_answer(lab.ctx)
    assert encode(to_builtins(view))
    assert (view.cheats, view.honest, view.false_alarms) == (1, 0, 0)
    rows = {row.node: row for row in view.participants}
    executor = rows[found.executor]
    assert (executor.checked, executor.strikes, executor.convicted) == (1, 1, False)
    assert executor.log_e_milli > 4000
    assert sum(row.duties for row in rows.values()) == 6


def test_escrows_of_an_account_are_listed_until_the_answer_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    first, second = lab.start(), lab.start()
    account, height = first.request.account, lab.ctx.height
    rows, until = escrow_rows(lab.view, account, height)
    assert {row.inference_id for row in rows} == {first.inference_id.hex(), second.inference_id.hex()}
    assert all(row.amount_micro == lab.inference(bytes.fromhex(row.inference_id)).escrow_micro for row in rows)
    assert until >= first.request.deadline_height
    assert escrow_rows(lab.view, bytes(32), height)[0] == ()
    lab.finish(first.inference_id)
    assert [row.inference_id for row in escrow_rows(lab.view, account, height)[0]] == [second.inference_id.hex()]
    monkeypatch.setattr(accounts, "MAX_LOOKED_AT", 0)
    cut, until = escrow_rows(lab.view, account, height)
    assert cut == ()
    assert until < second.request.deadline_height, "it says how far it looked"


def test_the_query_is_public_and_the_commitment_to_a_planted_fault_names_no_inference() -> None:
    from p2p.base.types import PlantCommit, RecordKind
    from p2p.chain.block_answers import inference_of
    from p2p.chain.queries import PUBLIC_OPS

    assert "verification" in PUBLIC_OPS
    assert inference_of(RecordKind.PLANT_COMMIT, encode(PlantCommit(bytes(32), bytes(32)))) == b""
