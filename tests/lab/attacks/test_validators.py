"""What the lying validators say, without a network: each lies in the way of its name and in no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from p2p.base.genesis import CheckRules
from p2p.base.keys import Key
from p2p.base.serving_limits import REVEAL_RANKS, TOP_RANKS
from p2p.base.types import Verdict
from p2p.lab import attacks
from p2p.lab.attacks.lazy_validator import Lazy
from p2p.ledger.inferences.verdict_comparison import agree, mean_distance_milli
from p2p.verification.duty import reveal_positions
from tests.peer.test_validator import IID, KEY, FakeChain, FakeEngine, Lab, duty

LENGTH, BEACON = 40, b"\x0b" * 32
NOT_RUN = FakeEngine(fail=True)  # a validator that asks its engine for anything raises


class NoInference:
    """A chain on which no earlier committee has said anything."""

    def inference(self, inference_id: bytes) -> None:
        return None


async def said(name: str, engine: Any = None, **more: Any) -> Verdict:
    lab = Lab(FakeChain(), engine=engine, length=LENGTH)
    made = lab.validator
    lab.chain.state = SimpleNamespace(view=NoInference)  # type: ignore[attr-defined]
    build = attacks.get(name).validator
    assert build is not None
    liar = build(KEY, "n", made.chain, made.outbox, made.open_stream, made.ready, profile=made.profile, **more)
    claim = lab.chain.found
    assert claim is not None
    return liar.verdict(duty(), await liar.opinion(duty(), claim))


async def honest(engine: Any = None) -> Verdict:
    lab = Lab(FakeChain(), engine=engine, length=LENGTH)
    assert lab.chain.found is not None
    return lab.validator.verdict(duty(), await lab.validator.opinion(duty(), lab.chain.found))


def agrees(one: Verdict, other: Verdict) -> bool | None:
    return agree(one.numbers, other.numbers, CheckRules().reveal_tolerance_milli)


@pytest.mark.parametrize("name", ["lazy_validator", "copying_validator"])
async def test_who_does_not_run_the_model_is_well_formed_and_disagrees_with_who_did(name: str) -> None:
    verdict, right = await said(name, NOT_RUN), await honest()
    assert verdict.valid
    assert verdict.tokens == LENGTH
    assert tuple(row.position for row in verdict.numbers) == reveal_positions(BEACON, IID, KEY.public, LENGTH)
    assert all(len({token for token, _ in row.candidates}) == len(row.candidates) for row in verdict.numbers)
    assert agrees(verdict, right) is False
    assert agrees(await honest(), right) is True


def test_invented_rows_are_full_also_where_two_draws_meet() -> None:
    """Some 24 draws of 32768 ids: in two thousand rows many meet. A row that waited for another draw of the same seed
    would wait for ever."""
    lazy = SimpleNamespace(key=KEY)
    rows = [Lazy._row(lazy, duty(), at) for at in range(2000)]  # type: ignore[arg-type]
    assert {len(row) for row in rows} == {TOP_RANKS + REVEAL_RANKS * (duty().earlier + 1)}


async def test_who_checks_with_cheaper_weights_agrees_but_never_to_the_bit() -> None:
    verdict, right = await said("cheap_validator", FakeEngine(scale=1.2)), await honest()
    assert verdict.valid
    assert agrees(verdict, right) is True
    assert agree(verdict.numbers, right.numbers, 0) is False
    distance = mean_distance_milli(verdict.numbers, right.numbers)
    assert distance is not None
    assert distance > 20
    assert (await said("cheap_validator", FakeEngine(salt=2))).valid, "whatever it sees"


async def test_a_framer_has_the_right_numbers_and_the_wrong_word() -> None:
    verdict, right = await said("framing_validator"), await honest()
    assert right.valid
    assert not verdict.valid
    assert verdict.llr_milli > 10_000
    assert agrees(verdict, right) is True


@pytest.mark.parametrize("friend", [True, False])
async def test_a_colluder_lies_for_friends_only(friend: bool) -> None:
    friends = frozenset({Key(bytes(32)).public if friend else KEY.public})
    verdict = await said("colluding_validator", FakeEngine(salt=2), friends=friends)
    right = await honest(FakeEngine(salt=2))
    assert not right.valid, "under another model's numbers the answer is wrong"
    assert verdict.valid is friend
    assert agrees(verdict, right) is True
    assert verdict.llr_milli < 0 if friend else verdict.llr_milli == right.llr_milli
