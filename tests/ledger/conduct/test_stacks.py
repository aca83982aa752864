"""The stack that a finish record names decides which noise the answer is judged by, so it must be one that was
registered, and the same for a whole epoch."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.errors import RemoteProtocolError
from p2p.base.types import Status
from p2p.ledger.conduct.stacks import stack_problem
from tests.ledger.lab import Lab

ONE, OTHER = "vllm-cpu-bf16#aaaaaaaaaaaa", "torch-cpu-bf16"


def finish(lab: Lab, node: bytes, stack: str) -> str:
    """The status after a finish of `node` on `stack`, or the field that refused it."""
    signed = lab.start()
    while node not in lab.inference(signed.inference_id).candidates:
        signed = lab.start()
    try:
        lab.finish(signed.inference_id, node, stack=stack)
    except RemoteProtocolError as error:
        return error.field
    return lab.status(signed.inference_id)


def test_one_stack_serves_a_model_in_an_epoch() -> None:
    """If each answer could name another stack, an executor would choose the one with the widest noise."""
    lab = Lab(epoch_blocks=30)
    node, second = lab.nodes[1], lab.nodes[2]
    assert finish(lab, node, ONE) == Status.FINISHED.value
    for stack in (OTHER, "vllm-cpu-bf16", "vllm-cpu-bf16#bbbbbbbbbbbb", "kernels of nobody"):
        assert finish(lab, node, stack) == "stack"
        assert stack_problem(lab.view, node, "toy", stack), "the executor learns it before it runs the model"
    assert finish(lab, node, ONE) == Status.FINISHED.value
    assert finish(lab, second, OTHER) == Status.FINISHED.value, "other executors may use another stack"
    lab.block(31)
    assert stack_problem(lab.view, node, "toy", OTHER) == ""
    assert finish(lab, node, OTHER) == Status.FINISHED.value, "in another epoch it may have other kernels"


@pytest.mark.parametrize(("registered", "stack", "good"), [
    ((), OTHER, True), ((OTHER,), OTHER, True), (("vllm-cpu-bf16",), ONE, True), ((ONE,), ONE, True),
    ((ONE,), "vllm-cpu-bf16", False),
    ((ONE,), "vllm-cpu-bf16#bbbbbbbbbbbb", False), ((OTHER,), ONE, False), ((ONE, OTHER), OTHER, True),
])
def test_what_was_registered_binds(registered: tuple[str, ...], stack: str, good: bool) -> None:
    lab = Lab()
    node = lab.nodes[1]
    participant = lab.view.participant(node)
    assert participant is not None
    lab.view.put_participant(replace(participant, stacks=registered))
    assert finish(lab, node, stack) == (Status.FINISHED.value if good else "stack")
    assert (stack_problem(lab.view, node, "toy", stack) == "") is good
