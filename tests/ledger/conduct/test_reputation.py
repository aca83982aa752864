"""Reputation is bound to (participant, model, stack): what was earned with one pair spares no check of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.types import StackClass, Status
from p2p.ledger.conduct import reputation
from p2p.ledger.conduct.executor_conduct import strike
from p2p.ledger.state.records import MAX_REPUTATIONS, MAX_SERVED, Conduct, Participant, Reputation, Served
from tests.ledger.account_transactions import part
from tests.ledger.lab import RULES, Lab, reputations

STACK, OTHER = StackClass.CPU_BF16.value, StackClass.TORCH_CPU_BF16.value
LAX = replace(RULES, min_checks=0, saving_micro=0, min_checked_tokens=10)
NAMES = st.sampled_from([f"m{i}" for i in range(12)])


def give_reputation(lab: Lab, node: bytes) -> None:
    """Give `node` full reputation and enough checked tokens in this epoch."""
    row = Served("toy", STACK, booked_before=100_000, checked_tokens=1000)
    lab.view.put_participant(replace(part(lab, node), reputations=reputations(100)))
    lab.view.put_conduct(node, replace(lab.view.conduct(node), served=(row,)))


def test_only_the_pair_it_was_earned_with_is_checked_less() -> None:
    lab = Lab(rules=LAX)
    node = lab.nodes[1]
    give_reputation(lab, node)
    assert reputation.check_milli(lab.ctx, node, "toy", STACK) == 10
    for model, stack in (("toy", OTHER), ("large", STACK), ("large", OTHER), ("toy", STACK + "#other kernels")):
        assert reputation.check_milli(lab.ctx, node, model, stack) == 1000


def test_an_answer_made_on_another_stack_is_checked_whatever_the_reputation() -> None:
    lab = Lab(rules=LAX)
    node = lab.nodes[1]

    def statuses(stack: str) -> list[str]:
        ids: list[str] = []
        # as in a new epoch: no stack is chosen yet
        lab.view.put_conduct(node, replace(lab.view.conduct(node), bound=()))
        for _ in range(12):
            give_reputation(lab, node)
            signed = lab.start(agent=0)
            while node not in lab.inference(signed.inference_id).candidates:
                signed = lab.start(agent=0)
            lab.finish(signed.inference_id, node, stack=stack)
            lab.block(2)
            ids.append(lab.status(signed.inference_id))
        return ids

    assert set(statuses(OTHER)) == {Status.VALIDATING.value}
    assert statuses(STACK).count(Status.SETTLED.value) >= 10, "1 % of them are checked"


def test_an_epoch_earns_for_the_pairs_that_were_checked_enough() -> None:
    lab = Lab(epoch_blocks=60)
    node = lab.nodes[1]
    for _ in range(3):
        lab.decide(lab.drawn(executor=node, tokens=20), lambda _: {})
    lab.view.put_conduct(node, reputation.with_served(
        lab.view.conduct(node), "toy", OTHER, lambda row: replace(
            row, booked=1, checked_tokens=RULES.min_checked_tokens - 1
        )
    ))
    lab.block(61 - lab.height)
    assert part(lab, node).reputations == reputations(RULES.reputation_gain)
    assert lab.view.conduct(node).served == (
        Served("toy", STACK, booked_before=3), Served("toy", OTHER, booked_before=1)
    )


def test_one_fault_takes_all_of_it() -> None:
    lab = Lab()
    node = lab.nodes[1]
    lab.view.put_participant(replace(part(lab, node), reputations=(*reputations(100), Reputation("toy", OTHER, 40))))
    strike(lab.view, node)
    assert part(lab, node).reputations == ()


@given(
    st.lists(st.tuples(NAMES, NAMES, st.integers(1, 100)), max_size=MAX_REPUTATIONS, unique_by=lambda row: row[:2]),
    st.lists(st.tuples(NAMES, NAMES, st.integers(0, 9), st.integers(0, 90)), max_size=60),
    st.integers(0, 100), st.booleans(),
)
def test_rows_and_points_are_within_bounds(
    before: list[tuple[str, str, int]], work: list[tuple[str, str, int, int]], gain: int, halved: bool
) -> None:
    participant = Participant(bytes(32), bytes(32), 1, (), reputations=tuple(Reputation(*row) for row in before))
    conduct = Conduct()
    for model, stack, finished, tokens in work:
        conduct = reputation.with_served(
            conduct, model, stack, lambda row, f=finished, t=tokens: replace(
                row, booked=row.booked + f, checked_tokens=row.checked_tokens + t
            )
        )
    assert len(conduct.served) <= MAX_SERVED
    assert len({(row.model, row.stack) for row in conduct.served}) == len(conduct.served)
    after = reputation.after_epoch(participant, conduct, gain=gain, least_tokens=50, halved=halved)
    assert len(after) <= MAX_REPUTATIONS
    assert all(0 < row.points <= reputation.MAX_REPUTATION for row in after)
    for row in after:
        old = reputation.reputation(participant, row.model, row.stack)
        seen = reputation.served(conduct, row.model, row.stack)
        earned = gain if seen.checked_tokens >= 50 else 0
        assert row.points == (old // 2 if halved else min(reputation.MAX_REPUTATION, old + earned))
    dropped = {(m, s) for m, s, _ in before} - {(row.model, row.stack) for row in after}
    if not halved and len(after) < MAX_REPUTATIONS:
        assert not dropped
