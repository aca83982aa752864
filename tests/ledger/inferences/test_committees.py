"""Committees: drawn after the artifact's root is on chain; commit, then reveal; dispute and decision. Records of nodes
that were not drawn change nothing, and money is conserved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules
from p2p.base.types import RecordKind, RevealedRow, VerdictCommit, VerdictKind
from p2p.ledger.genesis import check_conservation
from tests.ledger.lab import CLIENT, PRICE, PROMPT, REVEAL, RULES, STEADY, WINDOW, Lab, reputations, true_row

COST = (PROMPT + 10) * PRICE
FULL = 10**9
HONEST: dict[str, Any] = {}
ACCUSE: dict[str, Any] = {"valid": False}


def balance(lab: Lab) -> int:
    return lab.view.account(CLIENT.public).balance_micro


def strikes(lab: Lab, node: bytes) -> int:
    found = lab.view.participant(node)
    assert found is not None
    return found.strikes


def test_the_committee_excludes_the_executor_and_its_owners_other_keys() -> None:
    lab = Lab(6, owners={1: 0, 2: 0})
    inference_id = lab.drawn(executor=lab.nodes[1])
    assert set(lab.members(inference_id)) == set(lab.nodes[3:])


def test_all_valid_is_paid_and_ends_early() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    drawn_at = lab.height
    found = lab.decide(inference_id, lambda node: HONEST)
    assert (found.status, found.reason, found.paid_micro) == ("VALIDATED", "", COST)
    assert found.end_height == drawn_at + 1, "one block to commit, one to reveal"
    assert balance(lab) == FULL - COST
    assert all(not lab.view.ids(b"duty/" + node) for node in lab.nodes)
    assert all(not v.numbers for v in found.verdicts), "numbers are dropped once compared"


@pytest.mark.parametrize(("first", "second", "status", "reason"), [
    ([1, 1, 0], [1, 1, 1], "UPHELD", ""), ([0, 0, 0], [0, 0, 0], "INVALIDATED", "because"),
    ([1, 1, 0], [0, 0, 0], "INVALIDATED", "because"), ([0, 0, 1], [1, 1, 1], "UPHELD", ""),
    ([0, 0, 0], [1, 1, 1], "INVALIDATED", "because"), ([1, 1, 0], [], "UPHELD", ""),
    ([1, 0, 0], [], "EXPIRED", "an accusation that no second committee heard"),
])
def test_a_dispute_draws_others_and_all_verdicts_vote(
    first: list[int], second: list[int], status: str, reason: str
) -> None:
    lab = Lab()
    inference_id = lab.drawn()
    executor = lab.inference(inference_id).finish.record.executor  # type: ignore[union-attr]
    asked = lab.members(inference_id)
    lab.say([lab.verdict(inference_id, node, valid=bool(vote)) for node, vote in zip(asked, first, strict=True)])
    assert lab.status(inference_id) == "DISPUTED"
    new = lab.members(inference_id)
    assert len(new) == 3
    assert not {*asked, executor} & set(new)
    if second:
        lab.say([lab.verdict(inference_id, node, valid=bool(vote)) for node, vote in zip(new, second, strict=True)])
    else:
        lab.block(WINDOW)
    found = lab.inference(inference_id)
    assert (found.status, found.reason) == (status, reason)
    assert balance(lab) == (FULL - COST if status == "UPHELD" else FULL)
    assert strikes(lab, executor) == (status == "INVALIDATED")
    assert found.dispute_height > 0


def test_where_nobody_is_left_to_ask_the_first_committee_decides() -> None:
    lab = Lab(4)
    inference_id = lab.drawn()
    assert len(lab.members(inference_id)) == 3
    found = lab.decide(inference_id, lambda node: {"valid": node == lab.members(inference_id)[0]})
    assert (found.status, len(found.committees), found.dispute_height) == ("INVALIDATED", 1, found.end_height)


def test_a_tie_does_not_stand() -> None:
    lab = Lab(3, committee=2)
    inference_id = lab.drawn()
    first = lab.members(inference_id)[0]
    found = lab.decide(inference_id, lambda node: {"valid": node == first})
    assert found.status == "INVALIDATED"
    assert all(lab.view.conduct(node).outliers == 0 for node in lab.nodes), "and counts against nobody"


def test_silence_draws_once_more_and_then_returns_the_money_without_blame() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    lab.block(WINDOW)
    assert (lab.status(inference_id), len(lab.inference(inference_id).committees)) == ("VALIDATING", 2)
    lab.block(WINDOW)
    found = lab.inference(inference_id)
    assert (found.status, found.reason, balance(lab)) == ("EXPIRED", "no validator answered", FULL)
    assert strikes(lab, found.finish.record.executor) == 0  # type: ignore[union-attr]
    assert sum(lab.view.conduct(node).duties for node in lab.nodes) == 0, (
        "maybe nobody could get the payload"
    )


def test_a_commitment_that_is_never_revealed_is_silence_and_a_missed_duty() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    first, second, third = lab.members(inference_id)
    lab.commit(lab.verdict(inference_id, first))
    lab.commit(lab.verdict(inference_id, second, valid=False))
    lab.commit(lab.verdict(inference_id, third))
    lab.until(inference_id, lambda found: found.committees[-1].revealing)
    lab.reveal(lab.verdict(inference_id, first))
    lab.reveal(lab.verdict(inference_id, third))
    lab.until(inference_id, lambda found: found.end_height > 0)
    assert lab.status(inference_id) == "VALIDATED"
    assert [lab.view.conduct(node).missed for node in (first, second, third)] == [0, 1, 0]
    assert [lab.view.conduct(node).duties for node in (first, second, third)] == [1, 1, 1]


def test_phases_close_at_their_windows() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    drawn_at = lab.inference(inference_id).committees[0].height
    lab.commit(lab.verdict(inference_id, lab.members(inference_id)[0]))
    lab.until(inference_id, lambda found: found.committees[-1].revealing)
    assert lab.height - 1 == drawn_at + WINDOW
    lab.until(inference_id, lambda found: len(found.committees) == 2)
    assert lab.height - 1 == drawn_at + WINDOW + REVEAL


def refusals() -> dict[str, tuple[str, Callable[[Lab, bytes, bytes], None]]]:
    """name -> (field, what is tried). Each is tried on an inference whose committee has committed; `node` is its first
    member."""

    def changed(**change: Any) -> Callable[[Lab, bytes, bytes], None]:
        """A verdict with these fields changed, to which its validator did commit."""
        def go(lab: Lab, inference_id: bytes, node: bytes) -> None:
            lab.reveal(replace(lab.verdict(inference_id, node), **change))
        return go

    def other_salt(lab: Lab, inference_id: bytes, node: bytes) -> None:
        lab.reveal(lab.verdict(inference_id, node, salt=b"\x01" * 32))

    def copied(lab: Lab, inference_id: bytes, node: bytes) -> None:
        lab.reveal(lab.verdict(inference_id, lab.members(inference_id)[1]), sender=node)

    def outsider(lab: Lab, inference_id: bytes, node: bytes) -> None:
        stranger = next(n for n in lab.nodes if n not in lab.inference(inference_id).members)
        lab.reveal(lab.verdict(inference_id, stranger))

    def late_commit(lab: Lab, inference_id: bytes, node: bytes) -> None:
        lab.commit(lab.verdict(inference_id, node))

    def twice(lab: Lab, inference_id: bytes, node: bytes) -> None:
        lab.reveal(lab.verdict(inference_id, node))
        lab.reveal(lab.verdict(inference_id, node))

    def unknown(lab: Lab, inference_id: bytes, node: bytes) -> None:
        lab.reveal(replace(lab.verdict(inference_id, node), inference_id=bytes(32)))

    return {
        "another salt than committed to": ("salt", other_salt), "another's verdict": ("validator", copied),
        "not drawn": ("validator", outsider), "a commitment when it is time to reveal": ("inference_id", late_commit),
        "twice": ("validator", twice), "no such inference": ("inference_id", unknown),
        "another word than committed to": ("salt", changed(kind=VerdictKind.INVALID)),
    }


@pytest.mark.parametrize("name", sorted(refusals()))
def test_reveals_that_are_refused(name: str) -> None:
    field, attempt = refusals()[name]
    lab = Lab()
    inference_id = lab.drawn()
    for node in lab.members(inference_id):
        lab.commit(lab.verdict(inference_id, node))
    lab.block()
    with pytest.raises(FolkmootError) as caught:
        attempt(lab, inference_id, lab.members(inference_id)[0])
    assert caught.value.field == field


ROW = RevealedRow(0, ((1, -1), (2, -2), (3, -3), (4, -4)))


@pytest.mark.parametrize(("change", "field"), [
    ({"numbers": ()}, "numbers"), ({"numbers": (ROW,) * 10}, "numbers"), ({"tokens": 9}, "tokens"),
    ({"tokens": 0}, "tokens"),
    ({"tokens": 0, "kind": VerdictKind.INVALID, "numbers": ()}, "llr_milli"),
    ({"tokens": 0, "kind": VerdictKind.INVALID, "llr_milli": 0}, "numbers"),
    ({"kind": VerdictKind.WITHHELD}, "tokens"),
    ({"kind": VerdictKind.WITHHELD, "tokens": 0, "numbers": ()}, "llr_milli"),
    ({"numbers": tuple(RevealedRow(i, ((1, -1), (1, -2), (3, -3), (4, -4))) for i in range(10))}, "numbers"),
    ({"numbers": tuple(RevealedRow(i, ((1, -1), (2, -2))) for i in range(10))}, "numbers"),
    ({"numbers": tuple(RevealedRow(9 - i, ROW.candidates) for i in range(10))}, "numbers"),
])
def test_a_malformed_verdict_is_refused_though_it_was_committed_to(change: dict[str, Any], field: str) -> None:
    lab = Lab()
    inference_id = lab.drawn()
    node = lab.members(inference_id)[0]
    bad = replace(lab.verdict(inference_id, node), **change)
    lab.commit(bad)
    lab.until(inference_id, lambda found: found.committees[-1].revealing)
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError) as caught:
        lab.reveal(bad)
    assert caught.value.field == field
    assert lab.view.changes == before


@pytest.mark.parametrize("when", ["before the draw", "twice", "an outsider", "for another", "after the end"])
def test_commitments_that_are_refused(when: str) -> None:
    lab = Lab()
    if when == "before the draw":
        inference_id = lab.start().inference_id
        lab.finish(inference_id)
        attempt = VerdictCommit(inference_id, lab.nodes[3], bytes(32))
    else:
        inference_id = lab.drawn()
        node, other = lab.members(inference_id)[:2]
        outsider = next(n for n in lab.nodes if n not in lab.members(inference_id))
        attempt = VerdictCommit(
            inference_id, {"an outsider": outsider, "for another": other}.get(when, node), bytes(32)
        )
        if when == "twice":
            lab.commit(lab.verdict(inference_id, node))
        if when == "after the end":
            lab.decide(inference_id, lambda node: HONEST)
    sender = lab.members(inference_id)[0] if when == "for another" else attempt.validator
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError):
        lab.put(sender, RecordKind.VERDICT_COMMIT, attempt)
    assert lab.view.changes == before


def test_an_inference_that_is_not_sampled_is_paid_at_once() -> None:
    rules = replace(RULES, min_checked_tokens=0, min_checks=0, saving_micro=0, reward_micro=10**9)
    lab, seen = Lab(rules=rules), set()
    for node in lab.nodes:
        found = lab.view.participant(node)
        assert found is not None
        lab.view.put_participant(replace(found, reputations=reputations(100)))
    for _ in range(150):
        seen.add((lab.inference(lab.drawn()).status, lab.inference(lab.drawn()).reason))
    assert ("SETTLED", "not sampled") in seen
    assert len(seen) > 1, "and one in a hundred is checked"


def test_nobody_else_serves_the_model() -> None:
    lab = Lab(2, owners={1: 0})
    found = lab.inference(lab.drawn())
    assert (found.status, found.reason) == ("SETTLED", "nobody else can check this model")


MOVES = st.lists(
    st.tuples(st.sampled_from(["commit", "reveal", "block", "plant", "finish"]), st.integers(0, 6), st.integers(0, 2)),
    max_size=60,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MOVES, st.booleans())
def test_money_is_conserved_and_outsiders_change_nothing_after_any_sequence(
    moves: list[tuple[str, int, int]], own: bool
) -> None:
    """Any records by anyone at any time; end_of_block checks that money is conserved."""
    keep = replace(STEADY, keep_epochs=100)  # else it would be pruned before the test reads it
    lab = Lab(7, epoch_blocks=9, rules=CheckRules(reveal_window=3, plant_window=4), validation_window=3, economy=keep)
    account = lab.owners[1] if own else CLIENT
    inference_id = lab.drawn(executor=lab.nodes[1], account=account)
    for move, who, how in moves:
        node, found = lab.nodes[who], lab.inference(inference_id)
        verdict = lab.verdict(inference_id, node, valid=how > 0, stage0=how == 0)
        before = dict(lab.view.changes)
        try:
            match move:
                case "commit":
                    lab.commit(verdict)
                case "reveal":
                    lab.reveal(verdict)
                case "plant":
                    lab.plant(inference_id, node) if how else lab.show(inference_id, node)
                case "finish":
                    lab.finish(inference_id, node)
                case "block":
                    lab.block()
            if move in ("commit", "reveal"):
                assert node in found.committees[-1].members
            if move == "finish":
                raise AssertionError("finished twice")
        except FolkmootError:
            assert lab.view.changes == before, "a refused record changes nothing"
        assert check_conservation(lab.view, lab.accounts)
    lab.block(20)
    assert lab.inference(inference_id).end_height > 0, "the inference ends, whatever anybody does"
    assert lab.inference(inference_id).due_micro == 0
    assert all(not lab.view.ids(b"duty/" + node) for node in lab.nodes)


def test_a_validator_that_copies_the_first_committees_numbers_is_an_outlier() -> None:
    """Of a short answer the first committee shows all positions. The second committee has to show other ranks there, so
    copied numbers are outliers (decision 013)."""
    lab = Lab()
    inference_id = lab.drawn(tokens=5)
    first = lab.members(inference_id)
    lab.say([lab.verdict(inference_id, node, valid=node != first[0]) for node in first])
    second = lab.members(inference_id)
    assert lab.inference(inference_id).committees[0].verdicts[0].numbers, "the copier can see them"
    lab.say([lab.verdict(inference_id, node, row=true_row if node == second[0] else next_row) for node in second])
    assert lab.inference(inference_id).status == "UPHELD"
    assert [lab.view.conduct(node).outliers for node in second] == [1, 0, 0]
    assert [lab.view.conduct(node).outliers for node in first] == [1, 0, 0], "the false accuser, by its verdict"
    assert all(lab.view.conduct(node).compared == 1 for node in (*first, *second))


def next_row(inference_id: bytes, position: int) -> tuple[tuple[int, int], ...]:
    """What the right model gives at ranks 13 to 16, which a second committee shows."""
    return tuple((token + 9000, logprob - 1000) for token, logprob in true_row(inference_id, position))
