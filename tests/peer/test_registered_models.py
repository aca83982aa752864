"""What the model's entry in the state demands of executor and validator: a family of stacks, a calibration profile."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.errors import Unavailable
from p2p.base.types import StackClass
from p2p.verification import artifact as artifacts
from p2p.verification.check import check_exact
from p2p.verification.tape import tape_seed
from tests.peer.test_validator import BEACON, IID, PROFILE, FakeChain, Lab, answer, committed, duty


@pytest.mark.parametrize(("stacks", "allowed"), [
    ((), True), (("vllm-cpu-bf16",), True), (("vllm-gpu-bf16", "vllm-cpu-bf16"), True), (("vllm-gpu-bf16",), False),
])
def test_a_stack_that_the_model_may_not_be_served_on_is_refused_at_stage_0(
    stacks: tuple[str, ...], allowed: bool
) -> None:
    claim, payload = answer()
    spec = replace(claim.spec, stacks=stacks)
    wrong = check_exact(
        artifacts.parse(payload.artifact), claim.request, claim.finish, spec, tape_seed(BEACON, IID, 1), frozenset({2}),
    )
    assert (wrong is None) is allowed
    assert allowed or "stack" in str(wrong)


async def test_a_validator_with_another_profile_does_not_judge() -> None:
    chain = FakeChain()
    lab = Lab(chain)
    assert chain.found is not None
    artifact = artifacts.parse(answer()[1].artifact)
    with pytest.raises(Unavailable, match="validators of the model judge by abcdef"):
        lab.validator.weigh(artifact, (), StackClass.CPU_BF16, "abcdef")
    chain.found = replace_spec(chain.found, "0" * 64)
    chain.duties = [duty()]
    await lab.height()
    assert lab.sent() == [], "no word is better than a wrong one"
    chain.found = replace_spec(chain.found, PROFILE.hash())
    await committed(lab)


def replace_spec(claim: object, profile_hash: str) -> object:
    from dataclasses import replace as change

    return change(claim, spec=replace(claim.spec, profile_hash=profile_hash))  # type: ignore[type-var, attr-defined]
