"""What the chain checks of every finish record, whether the answer is sampled for a check or not: an answer that every
check would refuse is never paid for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain
from p2p.base.types import FinishReason, FinishRecord, RecordKind, SignedFinish, SignedRequest, Status
from p2p.ledger.money.epoch_accounts import earning
from p2p.ledger.state.records import Inference
from tests.ledger.lab import PRICE, PROMPT, TOKENS_HASH, Lab

CONTEXT = 100


def lab_of(**spec: Any) -> tuple[Lab, SignedRequest, tuple[bytes, ...]]:
    """A started request for up to 50 tokens, and who was drawn."""
    lab = Lab(models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, CONTEXT, **spec),))
    lab.block()
    signed = lab.start()
    return lab, signed, lab.inference(signed.inference_id).candidates


def put(lab: Lab, signed: SignedRequest, executor: bytes, **fields: Any) -> str:
    """The field that the finish record is refused for; empty if it is accepted."""
    plain: dict[str, Any] = {
        "artifact_root": bytes(32), "output_hash": TOKENS_HASH, "prompt_tokens": PROMPT, "output_tokens": 10,
        "finish_reason": FinishReason.STOP,
    }
    record = FinishRecord(signed.inference_id, executor, **{**plain, **fields})
    finish = SignedFinish(record, lab.by_node[executor].sign(Domain.FINISH, lab.network, encode(record)))
    try:
        lab.put(lab.inference(signed.inference_id).agent, RecordKind.FINISH, finish)
    except FolkmootError as error:
        assert lab.status(signed.inference_id) == Status.STARTED.value, "no money moved"
        return error.field
    return ""


def most(signed: SignedRequest) -> int:
    return signed.request.max_tokens


@pytest.mark.parametrize(("fields", "field"), [
    ({}, ""), ({"finish_reason": FinishReason.STOPPED}, ""), ({"finish_reason": FinishReason.LENGTH}, "finish_reason"),
    ({"output_tokens": 0}, "output_tokens"), ({"output_tokens": 2**32 - 1}, "output_tokens"),
    ({"prompt_tokens": 0}, "prompt_tokens"),
    ({"prompt_tokens": 2**32 - 1}, "prompt_tokens"), ({"taken_over": 10}, "taken_over"),
    ({"taken_over": 2**32 - 1}, "taken_over"),
    ({"taken_over": 1}, "taken_over"), ({"stack": "abacus"}, "stack"), ({"stack": "vllm-cpu-bf16#00"}, ""),
])
def test_what_needs_no_model_is_checked_in_each_finish_record(fields: dict[str, Any], field: str) -> None:
    lab, signed, drawn = lab_of(stacks=("vllm-cpu-bf16",))
    assert put(lab, signed, drawn[0], **fields) == field


def test_the_finish_reason_must_fit_the_length() -> None:
    rules = (
        (FinishReason.STOP, "", ""),
        (FinishReason.LENGTH, "finish_reason", ""),
        (FinishReason.STOPPED, "", "finish_reason"),
    )
    for reason, short, whole in rules:
        for tokens in (0, 1):
            lab, signed, drawn = lab_of()
            count = most(signed) - 1 + tokens
            assert put(lab, signed, drawn[0], output_tokens=count, finish_reason=reason) == (whole if tokens else short)


def test_no_answer_is_longer_than_the_models_context() -> None:
    lab = Lab(models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, PROMPT + 40),))
    lab.block()
    signed = lab.start()
    first = lab.inference(signed.inference_id).candidates[0]
    assert put(lab, signed, first, output_tokens=41) == "prompt_tokens"
    assert put(lab, signed, first, output_tokens=40) == ""


def test_tokens_taken_over_are_paid_to_nobody() -> None:
    """So a false claim that others streamed the beginning costs the executor that makes it, and two that share an
    answer gain nothing from the first one's cheap tokens."""
    lab, signed, drawn = lab_of()
    account = signed.request.account
    before = lab.view.account(account).balance_micro + lab.inference(signed.inference_id).escrow_micro
    assert put(lab, signed, drawn[1], output_tokens=10, taken_over=7) == ""
    assert lab.view.account(account).balance_micro == before - (PROMPT + 3) * PRICE
    assert lab.inference(signed.inference_id).due_micro == (PROMPT + 3) * PRICE
    assert earning(lab.view, 0, drawn[1]) is None


def signed_finish(lab: Lab, signed: SignedRequest, executor: bytes, output_hash: bytes = TOKENS_HASH) -> SignedFinish:
    record = FinishRecord(signed.inference_id, executor, bytes(32), output_hash, PROMPT, 10, FinishReason.STOP)
    return SignedFinish(record, lab.by_node[executor].sign(Domain.FINISH, lab.network, encode(record)))


def confirmed(lab: Lab, signed: SignedRequest, executor: bytes) -> None:
    """The agent puts the finish record of the node that streamed on chain, and reports the same output."""
    lab.put(lab.nodes[0], RecordKind.FINISH, signed_finish(lab, signed, executor))
    lab.output(signed.inference_id)


def ended(lab: Lab, signed: SignedRequest) -> Inference:
    lab.block(1 + lab.genesis.validation_delay)
    return lab.decide(signed.inference_id, lambda node: {})


@pytest.mark.parametrize("liar", range(1, 7))
@pytest.mark.parametrize("outsider", [True, False])
def test_a_candidate_whose_turn_it_is_not_cannot_finish(liar: int, *, outsider: bool) -> None:
    lab, signed, drawn = lab_of()
    lab.block()
    rubbish = signed_finish(lab, signed, drawn[liar], b"\x09" * 32)
    with pytest.raises(FolkmootError) as error:
        lab.put(drawn[0] if outsider else drawn[liar], RecordKind.FINISH, rubbish)
    assert error.value.field == "executor"
    confirmed(lab, signed, drawn[0])
    found = ended(lab, signed)
    assert found.paid_micro == (PROMPT + 10) * PRICE
    assert lab.view.account(signed.request.account).balance_micro == 10**9 - found.paid_micro


def test_a_busy_passes_the_turn_to_the_next_candidate() -> None:
    lab, signed, drawn = lab_of()
    lab.busy(signed.inference_id, drawn[0])
    with pytest.raises(FolkmootError):
        lab.put(drawn[0], RecordKind.FINISH, signed_finish(lab, signed, drawn[0]))
    lab.put(drawn[1], RecordKind.FINISH, signed_finish(lab, signed, drawn[1]))
    assert lab.status(signed.inference_id) == Status.FINISHED.value


@pytest.mark.parametrize("late", [0, 1])
def test_the_finish_that_the_agent_names_replaces_an_earlier_candidates(late: int) -> None:
    """The first candidate signs rubbish and keeps the agent waiting; the second one streams, and is paid."""
    lab, signed, drawn = lab_of()
    rubbish = FinishRecord(signed.inference_id, drawn[0], bytes(32), b"\x09" * 32, 1, 1, FinishReason.STOP)
    lab.put(
        drawn[0],
        RecordKind.FINISH,
        SignedFinish(rubbish, lab.by_node[drawn[0]].sign(Domain.FINISH, lab.network, encode(rubbish))),
    )
    lab.block(late)
    confirmed(lab, signed, drawn[1])
    found = ended(lab, signed)
    assert found.finish is not None
    assert found.finish.record.executor == drawn[1]
    assert found.paid_micro == (PROMPT + 10) * PRICE
    assert lab.view.account(signed.request.account).balance_micro == 10**9 - found.paid_micro


def test_after_the_committees_draw_no_finish_is_replaced() -> None:
    """Else a cheat that learns that its answer is checked would have it replaced by a true one."""
    lab, signed, drawn = lab_of()
    lab.put(drawn[0], RecordKind.FINISH, signed_finish(lab, signed, drawn[0]))
    lab.block(1 + lab.genesis.validation_delay)
    with pytest.raises(FolkmootError) as error:
        lab.put(lab.nodes[0], RecordKind.FINISH, signed_finish(lab, signed, drawn[1]))
    assert error.value.field == "inference_id"


def test_a_finish_that_replaces_another_must_fit_the_escrow() -> None:
    lab, signed, drawn = lab_of()
    lab.put(drawn[0], RecordKind.FINISH, signed_finish(lab, signed, drawn[0]))
    account = lab.view.account(signed.request.account)
    longer = FinishRecord(signed.inference_id, drawn[1], bytes(32), TOKENS_HASH, PROMPT, 11, FinishReason.STOP)
    lab.view.put_account(signed.request.account, replace(account, balance_micro=PRICE - 1))
    body = SignedFinish(longer, lab.by_node[drawn[1]].sign(Domain.FINISH, lab.network, encode(longer)))
    with pytest.raises(FolkmootError) as error:
        lab.put(lab.nodes[0], RecordKind.FINISH, body)
    assert error.value.field == "balance"
