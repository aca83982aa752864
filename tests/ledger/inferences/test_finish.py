"""What the chain checks of every finish record, drawn to be checked or not: an answer that any check would refuse is never paid for."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain
from p2p.base.types import FinishReason, FinishRecord, RecordKind, SignedFinish, SignedRequest, Status
from p2p.ledger.money.epoch_accounts import earning
from tests.ledger.lab import PRICE, PROMPT, TOKENS_HASH, Lab

CONTEXT = 100


def lab_of(**spec: Any) -> tuple[Lab, SignedRequest, tuple[bytes, ...]]:
    """A started request for up to 50 tokens, and who was drawn."""
    lab = Lab(models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, CONTEXT, **spec),))
    lab.block()
    signed = lab.start()
    return lab, signed, lab.inference(signed.inference_id).candidates


def put(lab: Lab, signed: SignedRequest, executor: bytes, **fields: Any) -> str:
    """The field that a finish record was refused for, empty where it was taken."""
    plain: dict[str, Any] = {
        "artifact_root": bytes(32), "output_hash": TOKENS_HASH, "prompt_tokens": PROMPT, "output_tokens": 10, "finish_reason": FinishReason.STOP,
    }
    record = FinishRecord(signed.inference_id, executor, **{**plain, **fields})
    finish = SignedFinish(record, lab.by_node[executor].sign(Domain.FINISH, lab.network, encode(record)))
    try:
        lab.put(executor, RecordKind.FINISH, finish)
    except FolkmootError as error:
        assert lab.status(signed.inference_id) == Status.STARTED.value, "nothing moved"
        return error.field
    return ""


def most(signed: SignedRequest) -> int:
    return signed.request.max_tokens


@pytest.mark.parametrize(("fields", "field"), [
    ({}, ""), ({"finish_reason": FinishReason.STOPPED}, ""), ({"finish_reason": FinishReason.LENGTH}, "finish_reason"),
    ({"output_tokens": 0}, "output_tokens"), ({"output_tokens": 2**32 - 1}, "output_tokens"), ({"prompt_tokens": 0}, "prompt_tokens"),
    ({"prompt_tokens": 2**32 - 1}, "prompt_tokens"), ({"taken_over": 10}, "taken_over"), ({"taken_over": 2**32 - 1}, "taken_over"),
    ({"taken_over": 1}, "taken_over"), ({"stack": "abacus"}, "stack"), ({"stack": "vllm-cpu-bf16#00"}, ""),
])
def test_what_needs_no_model_is_checked_of_each(fields: dict[str, Any], field: str) -> None:
    lab, signed, drawn = lab_of(stacks=("vllm-cpu-bf16",))
    assert put(lab, signed, drawn[0], **fields) == field


def test_ends_and_lengths_go_together() -> None:
    rules = ((FinishReason.STOP, "", ""), (FinishReason.LENGTH, "finish_reason", ""), (FinishReason.STOPPED, "", "finish_reason"))
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


def test_what_was_taken_over_is_paid_to_nobody() -> None:
    """So a claim that others streamed it costs whoever makes it, and two that share an answer gain nothing by cheap tokens of the first."""
    lab, signed, drawn = lab_of()
    account = signed.request.account
    before = lab.view.account(account).balance_micro + lab.inference(signed.inference_id).escrow_micro
    assert put(lab, signed, drawn[1], output_tokens=10, taken_over=7) == ""
    assert lab.view.account(account).balance_micro == before - (PROMPT + 3) * PRICE
    assert lab.inference(signed.inference_id).due_micro == (PROMPT + 3) * PRICE
    assert earning(lab.view, 0, drawn[1]) is None
