"""The sprint: who answers and is found true weighs, and nobody else; padding loses; what is refused changes nothing; no money moves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.codec import encode
from p2p.errors import ConfigError, FolkmootError, InvalidRequest
from p2p.genesis import Genesis, GenesisChange, SprintRules
from p2p.keys import Key, digest
from p2p.ledger import earnings
from p2p.ledger.genesis import check_conservation
from p2p.ledger.ops import Unregister
from p2p.ledger.rules import check_request, serving
from p2p.ledger.sprint import Sprint, check_sprint, question
from p2p.ledger.sprint_prompts import WORDS, sprint_prompt
from p2p.ledger.statement import statement
from p2p.limits import MAX_SPRINT_ANSWERS
from p2p.types import SPRINT_ACCOUNT, Record, RecordKind, SprintCommit, SprintOpen
from tests.ledger.lab import STEADY, WINDOW, Lab
from tests.ledger.orders import order, part, rotation
from tests.ledger.race import EPOCH, RULES, TOKENS, UNCAPPED, RaceLab, join

FULL = 10**9
NEW = Key(b"\x7b" * 32)


def opened(lab: RaceLab, counts: dict[bytes, int]) -> dict[bytes, list[bytes]]:
    """All raced, committed and opened what was drawn: node -> inference ids."""
    lab.to_race()
    for node, count in counts.items():
        lab.race(node, count)
    lab.to_open()
    return {node: lab.open(node) for node in counts}


# -- prompts and ids -----------------------------------------------------------------------------------------------------


def test_the_questions_are_golden() -> None:
    """A changed word is a fork."""
    assert digest(*(word.encode() for word in WORDS)).hex() == "070bc5c3274c821357bbf868cf47015a05679f0e0fbd16dae7a64e353b0fbf3a"
    assert sprint_prompt(b"\x01" * 32, b"\x02" * 32, "toy", 0) == (
        "Write a long story in which all of these occur: banner, log, flood, hammer, cotton, flame, "
        "brick, circus, night, parrot, river, jewel, rain, kettle, prince, fish."
    )
    genesis = replace(Lab(4).genesis, sprint=RULES, epoch_blocks=EPOCH)
    prompt, signed = question(genesis, Sprint(3, b"\x01" * 32), b"\x02" * 32, "toy", 7)
    assert prompt == (
        "Write a long story in which all of these occur: journey, dolphin, button, banner, cattle, drum, "
        "candle, clock, brush, ocean, mist, duck, jewel, maple, dance, island."
    )
    assert signed.inference_id.hex() == "78155f20bc43935d269bec1e39a295abd080e9ea87868b5298246f7a3e63bf92"


def test_the_id_binds_epoch_beacon_node_model_and_number() -> None:
    genesis = replace(Lab(4).genesis, sprint=RULES, epoch_blocks=EPOCH)
    base: tuple[Any, ...] = (Sprint(3, b"\x01" * 32), b"\x02" * 32, "toy", 7)
    others = [(0, Sprint(4, b"\x01" * 32)), (0, Sprint(3, b"\x03" * 32)), (1, b"\x04" * 32), (2, "other"), (3, 8)]
    ids = {question(genesis, *base)[1].inference_id}
    for place, value in others:
        ids.add(question(genesis, *(value if at == place else one for at, one in enumerate(base)))[1].inference_id)
    assert len(ids) == 6


def test_no_two_questions_are_the_same() -> None:
    asked = {sprint_prompt(bytes([beacon]) * 32, bytes([node]) * 32, "toy", at) for beacon in range(3) for node in range(3) for at in range(500)}
    assert len(asked) == 4500


def test_no_client_can_use_the_sprints_account() -> None:
    lab = RaceLab()
    lab.to_race()
    _, signed = question(lab.genesis, lab.sprint, lab.nodes[0], "toy", 0)
    with pytest.raises(InvalidRequest) as caught:
        check_request(lab.view, lab.genesis, signed, lab.height)
    assert caught.value.field == "account"


# -- a whole life --------------------------------------------------------------------------------------------------------


def test_weights_are_what_was_checked_and_the_next_set_follows() -> None:
    lab = RaceLab()
    fast, slow, short, absent = lab.nodes[:4]
    lab.to_race()
    for node, count, tokens in ((fast, 60, 10), (slow, 20, 10), (short, 60, 3)):
        lab.race(node, count, tokens)
    lab.to_open()
    ids = [one for node in (fast, slow, short) for one in lab.open(node)]
    assert len(ids) == 9
    lab.judge(ids)
    assert {lab.status(one) for one in ids} == {"VALIDATED"}
    lab.to(EPOCH)
    assert lab.weight(fast) == 10, "until the next epoch"
    assert dict(lab.set(b"next")) == {fast: 60, slow: 20, short: 18, **dict.fromkeys(lab.nodes[3:], 5)}, "two heights before"
    lab.to_next_epoch()
    assert dict(lab.set()) == {node: lab.weight(node) for node in lab.nodes}
    assert (lab.weight(fast), lab.weight(slow), lab.weight(short), lab.weight(absent)) == (60, 20, 18, 5)
    lab.to_race()
    assert lab.view.ids(b"runs") == [], "the next race begins with nothing"
    assert all(lab.view.get(b"run/" + node + b"toy") is None for node in lab.nodes)


def test_no_money_moves_and_no_client_is_told() -> None:
    lab = RaceLab()
    before = lab.view.totals()
    ids = opened(lab, {lab.nodes[0]: 9, lab.nodes[1]: 9})
    lab.judge([one for some in ids.values() for one in some], lambda one: one in ids[lab.nodes[0]])
    lab.to_next_epoch()
    assert lab.view.totals() == before
    assert lab.view.get(b"acct/" + SPRINT_ACCOUNT) is None
    assert lab.view.get(b"note/" + SPRINT_ACCOUNT) is None
    assert all(lab.view.account(owner.public).balance_micro == FULL for owner in lab.owners)
    record = earnings.earning(lab.view, 0, lab.nodes[0])
    assert record is not None
    assert (record.work, record.fees_micro, record.inferences, record.ended) == (0, 0, 0, 3)
    rows = statement(lab.view, lab.genesis, 0, lab.nodes[0], 0)["inferences"]
    assert {(row["what"], row["rule"]) for row in rows} == {("sprint", "S")}


def test_checks_count_as_always_and_pairs_do_not() -> None:
    lab = RaceLab(epoch_blocks=400)
    node = lab.nodes[0]
    lab.judge(opened(lab, {node: 9})[node])
    seen = lab.view.standing(node)
    assert (seen.checked, seen.checked_tokens, seen.struck, seen.paired) == (3, 3 * TOKENS, 0, 0)
    assert sum(lab.view.standing(one).duties for one in lab.nodes) == 9


def test_a_high_reputation_does_not_spare_the_check() -> None:
    lab = RaceLab(rules=replace(Lab(1).genesis.checks, min_checked_tokens=0, min_checks=0, saving_micro=0))
    lab.view.put_participant(replace(part(lab, lab.nodes[0]), reputation=100))
    ids = opened(lab, {lab.nodes[0]: 500})[lab.nodes[0]]
    lab.block(2)
    assert {lab.status(one) for one in ids} == {"VALIDATING"}


def test_answers_leave_the_state_like_others() -> None:
    lab = RaceLab()
    ids = opened(lab, {lab.nodes[0]: 9})[lab.nodes[0]]
    lab.judge(ids)
    lab.to(EPOCH * 4)
    assert all(lab.view.inference(one) is None for one in ids)


def test_where_there_is_no_sprint_nothing_of_it_is_kept() -> None:
    lab = Lab(4, epoch_blocks=5)
    lab.block(12)
    assert not {key for key in lab.view.changes if key.startswith((b"sprint", b"run", b"weights"))}
    with pytest.raises(InvalidRequest):
        lab.put(lab.nodes[0], RecordKind.SPRINT_COMMIT, SprintCommit(lab.nodes[0], 2, "toy", bytes(32), 1))


# -- what is refused -----------------------------------------------------------------------------------------------------


def refused(lab: RaceLab, sender: bytes, kind: RecordKind, body: object, field: str) -> None:
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError) as caught:
        lab.put(sender, kind, body)
    assert caught.value.field == field, caught.value
    assert lab.view.changes == before, "a refused record changes nothing"


def commitment(lab: RaceLab, node: bytes, **change: Any) -> SprintCommit:
    return replace(SprintCommit(node, lab.epoch, "toy", bytes(32), 5), **change)


def test_commitments_that_are_refused() -> None:
    lab = RaceLab()
    node = lab.nodes[0]
    lab.to(lab.times.first)
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node), "epoch")
    lab.to_race()
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[1]), "node")
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, epoch=1), "epoch")
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, model="other"), "model")
    for count in (0, MAX_SPRINT_ANSWERS + 1):
        refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, count=count), "$[4]")
    lab.race(node, 5)
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node), "model")
    lab.to(lab.times.close)
    lab.race(lab.nodes[1], 5)
    lab.block()
    refused(lab, lab.nodes[2], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[2]), "epoch")


@pytest.mark.parametrize(("change", "field"), [
    ({"models": ()}, "model"), ({"convicted_until": 99}, "node"), ({"suspended_until": 99}, "node"), ({"leaving": 99}, "node"),
])
def test_who_may_not_serve_may_not_race(change: dict[str, Any], field: str) -> None:
    lab = RaceLab()
    lab.to_race()
    lab.view.put_participant(replace(part(lab, lab.nodes[0]), **change))
    refused(lab, lab.nodes[0], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[0]), field)


def test_without_the_collateral_nobody_races() -> None:
    lab = RaceLab(economy=replace(UNCAPPED, collateral_min_micro=5))
    lab.to_race()
    refused(lab, lab.nodes[0], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[0]), "collateral_micro")


def test_openings_that_are_refused() -> None:
    lab = RaceLab()
    node, other = lab.nodes[:2]
    lab.to_race()
    lab.race(node, 40)
    lab.to(lab.times.draw)
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, 0), "epoch")
    lab.to_open()
    first, second, third = lab.drawn_of(node)
    good = lab.opening(node, first)
    free = next(at for at in range(40) if at not in (first, second, third))
    refused(lab, other, RecordKind.SPRINT_OPEN, good, "model")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, free), "index")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, epoch=1), "epoch")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, proof=good.proof[:-1]), "proof")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, proof=lab.opening(node, second).proof), "proof")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=lab.finish_of(node, second)), "inference_id")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=lab.finish_of(node, first, 11)), "proof")
    for fault, field in ({"output_tokens": 0}, "output_tokens"), ({"output_tokens": 21}, "output_tokens"), ({"prompt_tokens": 600}, "prompt_tokens"):
        refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=lab.finish_of(node, first, **fault)), field)
    stolen = replace(good.finish, record=replace(good.finish.record, executor=other))
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=stolen), "executor")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=replace(good.finish, signature=bytes(64))), "signature")
    lab.open(node, [first])
    refused(lab, node, RecordKind.SPRINT_OPEN, good, "index")
    lab.to(lab.times.end)
    lab.open(node, [second])
    lab.block()
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, third), "epoch")


def test_the_largest_opening_fits_a_record() -> None:
    """65,536 answers: a proof of 16 hashes."""
    lab = RaceLab()
    lab.to_race()
    finish = lab.finish_of(lab.nodes[0], MAX_SPRINT_ANSWERS - 1)
    body = encode(SprintOpen(2**40, "m" * 96, MAX_SPRINT_ANSWERS - 1, finish, (bytes(32),) * 17))
    assert len(body) < 1024
    Record(RecordKind.SPRINT_OPEN, body)


def test_an_answer_of_the_sprint_takes_no_other_record() -> None:
    lab = RaceLab()
    node = lab.nodes[0]
    one = opened(lab, {node: 9})[node][0]
    finish = lab.inference(one).finish
    refused(lab, node, RecordKind.FINISH, finish, "inference_id")
    with pytest.raises(FolkmootError):
        lab.output(one)
    with pytest.raises(FolkmootError):
        lab.show(one, node)


# -- padding and cheating ------------------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(1, 60), st.data())
def test_padding_loses_in_expectation_with_two_samples_or_more(sampled: int, count: int, data: st.DataObject) -> None:
    """count answers of which `true` are real: expected worth, over all samples, against `true` for the honest commitment."""
    true = data.draw(st.integers(0, count - 1))
    taken = min(sampled, count)
    chance = Fraction(1)
    for at in range(taken):
        chance *= Fraction(max(true - at, 0), count - at)
    assert count * chance < true or true == 0 == chance
    if count > 1:
        assert count * Fraction(true, count) == true, "with one sample it would neither lose nor win: hence two at least"


@pytest.mark.parametrize("how", ["withheld", "refused"])
def test_one_answer_withheld_or_refused_makes_the_commitment_worthless(how: str) -> None:
    lab = RaceLab()
    padder, honest = lab.nodes[:2]
    lab.to_race()
    lab.race(padder, 100)
    lab.race(honest, 10)
    lab.to_open()
    ids = lab.open(padder, lab.drawn_of(padder)[: 2 if how == "withheld" else 3])
    bad = ids[-1] if how == "refused" else None
    lab.judge([*ids, *lab.open(honest)], lambda one: one != bad)
    assert part(lab, padder).strikes == (how == "refused")
    lab.to_next_epoch()
    assert (lab.weight(padder), lab.weight(honest)) == (0, 10)
    assert padder not in dict(lab.set())


def test_who_is_convicted_by_its_answers_has_no_weight() -> None:
    """Three refused answers pass the limit of the sequential test; a conviction elsewhere in the epoch costs the weight as well."""
    lab = RaceLab()
    cheat, other = lab.nodes[:2]
    ids = opened(lab, {cheat: 50, other: 50})
    lab.judge([one for some in ids.values() for one in some], lambda one: one not in ids[cheat])
    assert part(lab, cheat).convicted_until == 2 * EPOCH
    assert lab.view.standing(cheat).finders, "who found it shares the bounty"
    lab.view.put_participant(replace(part(lab, other), convicted_until=2 * EPOCH))
    lab.to_next_epoch()
    assert (lab.weight(cheat), lab.weight(other)) == (0, 0)
    lab.to_race()
    refused(lab, cheat, RecordKind.SPRINT_COMMIT, commitment(lab, cheat), "node")


def test_a_dispute_in_its_favour_keeps_the_weight() -> None:
    lab = RaceLab()
    node = lab.nodes[0]
    ids = opened(lab, {node: 30})[node]
    lab.block(2)
    liar = lab.members(ids[0])[0]
    while not lab.inference(ids[0]).end_height:
        lab.say([lab.verdict(ids[0], one, valid=one != liar) for one in lab.members(ids[0])])
    lab.judge(ids)
    assert lab.status(ids[0]) == "UPHELD"
    lab.to_next_epoch()
    assert lab.weight(node) == 30


# -- what is not decided -------------------------------------------------------------------------------------------------


def test_what_nobody_checked_neither_counts_nor_harms() -> None:
    lab = RaceLab()
    some, none = lab.nodes[:2]
    ids = opened(lab, {some: 30, none: 30})
    lab.judge(ids[some][:1])
    lab.to_next_epoch()
    assert lab.weight(some) == 30, "from the one that was checked"
    assert lab.weight(none) == 10, "as before"


def test_where_nobody_else_has_the_model_weights_rest() -> None:
    lab = RaceLab(2, owners={1: 0})
    ids = opened(lab, {lab.nodes[0]: 9})[lab.nodes[0]]
    lab.block(2)
    assert {lab.status(one) for one in ids} == {"SETTLED"}
    lab.to_next_epoch()
    assert (lab.weight(lab.nodes[0]), lab.weight(lab.nodes[1])) == (10, 5)


# -- absence, return, newcomers ------------------------------------------------------------------------------------------


def test_who_makes_no_commitment_loses_half_each_time_and_can_come_back() -> None:
    lab = RaceLab()
    away, rest = lab.nodes[0], dict.fromkeys(lab.nodes[1:], 10)
    seen = []
    for _ in range(5):
        lab.whole_sprint(rest)
        seen.append(lab.weight(away))
        assert (away in dict(lab.set())) is (lab.weight(away) > 0)
    assert seen == [5, 2, 1, 0, 0]
    assert away not in dict(serving(lab.view, lab.genesis, "toy"))
    lab.whole_sprint({**rest, away: 20})
    assert lab.weight(away) == dict(lab.set())[away] == 20
    assert away in dict(serving(lab.view, lab.genesis, "toy"))


def test_a_newcomer_enters_by_racing() -> None:
    lab = RaceLab()
    lab.to_race()
    new = join(lab, 1, lab.owners[0])
    assert lab.weight(new) == 0
    assert new not in dict(serving(lab.view, lab.genesis, "toy"))
    lab.whole_sprint({**dict.fromkeys(lab.nodes[:8], 10), new: 40})
    assert lab.weight(new) == 40
    assert new in dict(lab.set())
    signed = [lab.start() for _ in range(30)]
    assert any(new in lab.inference(one.inference_id).candidates for one in signed), "it is drawn to serve"
    drawn = {node for _ in range(12) for node in lab.members(lab.drawn(executor=lab.nodes[3]))}
    assert new in drawn, "and to check"


def test_the_set_is_capped_by_owner() -> None:
    lab = RaceLab(owners={1: 0}, economy=STEADY)
    lab.whole_sprint({node: 100 if at < 2 else 10 for at, node in enumerate(lab.nodes)})
    total = 2 * 100 + 6 * 10
    counted = 100 * (total * 300 // 1000) // 200
    assert dict(lab.set()) == {node: counted if at < 2 else 10 for at, node in enumerate(lab.nodes)}
    assert dict(lab.set()) == dict(serving(lab.view, lab.genesis, "toy")), "members and draws weigh the same"
    assert lab.weight(lab.nodes[0]) == 100


def test_where_nobody_would_have_weight_the_old_ones_stay() -> None:
    lab = RaceLab()
    before = lab.set()
    for node in lab.nodes:
        lab.view.put_participant(replace(part(lab, node), weight=1))
    lab.to_next_epoch()
    assert lab.set() == before
    assert {lab.weight(node) for node in lab.nodes} == {1}


def test_offenders_and_those_who_leave_are_out_and_a_new_key_takes_its_place() -> None:
    lab = RaceLab(economy=replace(UNCAPPED, withdraw_wait=100))
    offender, leaver = lab.nodes[:2]
    ids = opened(lab, dict.fromkeys(lab.nodes, 10))
    lab.view.add_id(b"faults", offender)
    order(lab, lab.owners[1], Unregister(leaver))
    order(lab, lab.owners[2], rotation(lab.owners[2], lab.keys[2], NEW))
    lab.judge([one for some in ids.values() for one in some])
    lab.to_next_epoch()
    assert set(dict(lab.set())) == {*lab.nodes[3:], NEW.public}
    assert lab.weight(NEW.public) == 10


def test_a_dear_model_weighs_more() -> None:
    lab = RaceLab()
    lab.genesis = replace(lab.genesis, models=(replace(lab.genesis.models[0], cost_milli=2500),))
    lab.view.put(b"model/toy", encode(lab.genesis.models[0]))
    lab.whole_sprint({lab.nodes[0]: 30})
    assert lab.weight(lab.nodes[0]) == 75


# -- the rules themselves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "field"), [
    ({"changes": (GenesisChange(1, b"\x01" * 32, 5),)}, "changes"), ({"sprint": replace(RULES, blocks=3)}, "sprint.blocks"),
    ({"epoch_blocks": 32}, "epoch_blocks"), ({"validation_window": 60}, "epoch_blocks"), ({"sprint": replace(RULES, blocks=30)}, "epoch_blocks"),
])
def test_a_genesis_that_does_not_fit_is_refused(change: dict[str, Any], field: str) -> None:
    good: Genesis = RaceLab().genesis
    check_sprint(good)
    check_sprint(replace(good, epoch_blocks=33))
    with pytest.raises(ConfigError) as caught:
        check_sprint(replace(good, **change))
    assert caught.value.field == field
    check_sprint(replace(good, **{**change, "sprint": SprintRules()}))
    with pytest.raises(ConfigError):
        RaceLab(**{"sprint": RULES, **change})


def test_a_last_minute_answer_is_decided_in_time_whatever_its_committee_does() -> None:
    """The tightest epoch that is allowed: opened at the last height, everybody as slow as it may be, and a dispute."""
    lab = RaceLab(epoch_blocks=33)
    node = lab.nodes[0]
    lab.to_race()
    lab.race(node, 30)
    lab.to(lab.times.end)
    one = lab.open(node)[0]
    lab.block(2)
    for at in range(2):
        panel, said = lab.members(one), []
        lab.to(lab.inference(one).panels[-1].closes)
        for member in panel[1:]:  # one never speaks, so the whole window is waited for
            said.append(lab.verdict(one, member, valid=False))
            lab.commit(said[-1])
        lab.block()
        lab.to(lab.inference(one).panels[-1].closes)
        lab.reveal(said[0])
        lab.block()
        assert len(lab.inference(one).panels) == 2, at
    assert lab.status(one) == "INVALIDATED"
    assert lab.height <= lab.genesis.epoch_blocks, "before the weights are counted"


WAYS = ["race", "open", "half", "judge", "lie", "block", "late"]
MOVES = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 5), st.integers(1, 9)), max_size=50)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MOVES)
def test_after_any_sequence_money_is_whole_weights_are_bounded_and_somebody_decides_blocks(moves: list[tuple[str, int, int]]) -> None:
    lab = RaceLab(6, validation_window=WINDOW)
    lab.to_race()
    made: dict[bytes, int] = {}
    for move, who, how in moves:
        node, before, ids = lab.nodes[who], dict(lab.view.changes), list[bytes]()
        try:
            match move:
                case "race":
                    lab.race(node, how * 10)
                    made[node] = how * 10
                case "open":
                    ids = lab.open(node)
                case "half":
                    ids = lab.open(node, lab.drawn_of(node)[:1])
                case "judge" | "lie":
                    ids = [one.inference_id for one in lab.run(node).opened]
                    lab.judge(ids, lambda one: move == "judge")  # noqa: B023
                case "block":
                    lab.block(how)
                case "late":
                    lab.to_open()
        except (FolkmootError, AssertionError, KeyError):
            if move == "race":
                assert lab.view.changes == before, "a refused record changes nothing"
        assert check_conservation(lab.view, lab.accounts)
        assert lab.set()
        assert lab.set(b"next")
        worth = max(made.values(), default=0) * 20 // RULES.unit_tokens
        assert all(lab.weight(one) <= max(10, worth) for one in lab.nodes)
    lab.block(EPOCH)
    assert sum(weight for _, weight in lab.set()) > 0
    assert lab.view.totals().due_micro == lab.view.totals().escrow_micro == 0
