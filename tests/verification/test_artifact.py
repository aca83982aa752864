"""The artifact by its properties: bytes come back as they went, rows stay small, numbers stay within half a step,
nothing crashes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import LEAF_POSITIONS, MAX_OUTPUT_TOKENS, TOP_RANKS
from p2p.base.types import VERSION, FinishReason, FinishRecord, InferenceId, Params, Request
from p2p.verification import artifact as artifacts
from p2p.verification import check
from p2p.verification.engine import TokenStep

SEED, IID = b"\x07" * 32, InferenceId(b"\x09" * 32)
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048)
LARGEST = (1 << 18) - 1
REQUEST = Request(VERSION, "n", bytes(32), 1, "toy", b"\x03" * 32, Params(), 64, 100, 100, 50, bytes(32), 40)
HEADER = artifacts.header_for(REQUEST, IID, SPEC, SEED, (1, 2, 3), FinishReason.LENGTH)

small, any_id = st.integers(0, 65_535), st.integers(0, LARGEST)
logprob = st.floats(-80.0, 0.0)
wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -0.0, 1e-9, -1e300, 1e300, 800.0])
)


def steps(
    ids: st.SearchStrategy[int], numbers: st.SearchStrategy[float], most: int = 40
) -> st.SearchStrategy[list[TokenStep]]:
    top = st.lists(st.tuples(ids, numbers), max_size=TOP_RANKS + 2).map(tuple)
    return st.lists(st.builds(TokenStep, ids, st.just(""), numbers, top), max_size=most)


@settings(max_examples=200)
@given(st.one_of(steps(small, logprob), steps(any_id, logprob)))
def test_what_is_built_comes_back(given_steps: list[TokenStep]) -> None:
    made = artifacts.build(HEADER, given_steps)
    read = artifacts.parse(made.to_bytes())
    assert read == made
    assert read.to_bytes() == made.to_bytes()
    assert read.root() == made.root()
    assert read.tokens == tuple(step.token for step in given_steps)
    assert read.length == len(given_steps) == len(read.positions())
    assert [p.token for p in read.positions()] == list(read.tokens)


@given(steps(any_id, logprob))
def test_rows_stay_within_32_bytes_a_token(given_steps: list[TokenStep]) -> None:
    made = artifacts.build(HEADER, given_steps)
    ids = [t for s in given_steps for t in (s.token, *(c for c, _ in s.top[:TOP_RANKS]))]
    assert made.header.id_bits == (18 if max(ids, default=0) > 65_535 else 16)
    assert len(made.rows) == len(given_steps) * (32 if made.header.id_bits == 18 else 29) <= 32 * len(given_steps)


@pytest.mark.parametrize(("token", "bits"), [(65_535, 16), (65_536, 18), (LARGEST, 18)])
def test_the_border_of_each_width(token: int, bits: int) -> None:
    made = artifacts.build(HEADER, [TokenStep(token, "", -1.0, ((token, -1.0), (3, -2.0)))])
    assert made.header.id_bits == bits
    read = artifacts.parse(made.to_bytes()).positions()[0]
    assert (read.token, read.top[0], read.top[-1]) == (token, (token, -1.0), (3, -2.0))


@pytest.mark.parametrize("token", [LARGEST + 1, 1 << 24, -1])
def test_an_id_no_row_can_hold_is_refused(token: int) -> None:
    for step in (TokenStep(token, "", -1.0), TokenStep(5, "", -1.0, ((token, -1.0),))):
        with pytest.raises(Unavailable) as error:
            artifacts.build(HEADER, [step])
        assert error.value.field == "token"


@settings(max_examples=200)
@given(steps(any_id, logprob, most=5))
def test_numbers_are_within_half_a_step(given_steps: list[TokenStep]) -> None:
    floor_chosen, floor_top = -65_535 / artifacts.CHOSEN_STEPS_PER_NAT, -255 / artifacts.TOP_STEPS_PER_NAT
    for step, read in zip(given_steps, artifacts.build(HEADER, given_steps).positions(), strict=True):
        assert abs(read.logprob - max(step.logprob, floor_chosen)) <= 0.5 / artifacts.CHOSEN_STEPS_PER_NAT + 1e-12
        for (token, number), (wanted, exact) in zip(read.top, step.top, strict=False):
            assert token == wanted
            assert abs(number - max(exact, floor_top)) <= 0.5 / artifacts.TOP_STEPS_PER_NAT + 1e-12
        assert len(read.top) == TOP_RANKS
        if step.top:  # too few candidates: the last one again
            assert set(read.top[len(step.top) :]) <= {read.top[min(len(step.top), TOP_RANKS) - 1]}


@given(steps(any_id, wild, most=5))
def test_an_engine_may_say_any_number(given_steps: list[TokenStep]) -> None:
    made = artifacts.build(HEADER, given_steps)
    assert artifacts.parse(made.to_bytes()) == made
    for position in made.positions():
        for number in (position.logprob, position.tail, *(p for _, p in position.top)):
            assert math.isfinite(number)
            assert number <= 0


def test_tail_is_the_mass_outside() -> None:
    half, all_of_it = TokenStep(1, "", math.log(0.5), ((1, math.log(0.5)),)), TokenStep(1, "", 0.0, ((1, 0.0),))
    tails = [p.tail for p in artifacts.build(HEADER, [half, all_of_it]).positions()]
    assert tails[0] == pytest.approx(math.log(0.5), abs=0.5 / artifacts.TOP_STEPS_PER_NAT)
    assert tails[1] == -255 / artifacts.TOP_STEPS_PER_NAT


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=600), st.lists(st.binary(max_size=300), max_size=3).map(encode),
                 st.tuples(st.just(encode(HEADER)), st.binary(max_size=100)).map(list).map(encode)))
def test_any_bytes_are_survived(data: bytes) -> None:
    try:
        read = artifacts.parse(data)
    except RemoteProtocolError:
        return
    assert read.to_bytes() == data


def test_the_empty_answer_has_a_root_and_is_refused_by_stage_0() -> None:
    made = artifacts.build(HEADER, [])
    assert artifacts.parse(made.to_bytes()) == made
    assert (made.length, made.tokens, made.positions(), len(made.leaves())) == (0, (), (), 1)
    record = FinishRecord(IID, bytes(32), made.root(), made.output_hash(), 3, 0, FinishReason.LENGTH)
    wrong = check.check_exact(made, REQUEST, record, SPEC, SEED, frozenset({2}))
    assert wrong == "the answer is empty or longer than asked for"


@pytest.mark.parametrize("length", [1, LEAF_POSITIONS - 1, LEAF_POSITIONS, LEAF_POSITIONS + 1, MAX_OUTPUT_TOKENS])
def test_leaves_hold_whole_rows(length: int) -> None:
    made = artifacts.build(HEADER, [TokenStep(70_000 + at, "", -1.0) for at in range(length)])
    leaves = made.leaves()
    assert len(leaves) == 1 + -(-length // LEAF_POSITIONS)
    assert b"".join(leaves[1:]) == made.rows
    assert all(len(leaf) == 32 * LEAF_POSITIONS for leaf in leaves[1:-1])
    assert artifacts.parse(made.to_bytes()).length == length


def test_bits_behind_a_row_are_refused() -> None:
    made = artifacts.build(HEADER, [TokenStep(70_000, "", -1.0), TokenStep(5, "", -1.0)])
    for at in (31, 63):
        for bit in range(2, 8):
            rows = bytearray(made.rows)
            rows[at] |= 1 << bit
            with pytest.raises(RemoteProtocolError) as error:
                artifacts.parse(artifacts.Artifact(made.header, bytes(rows)).to_bytes())
            assert error.value.field == "rows"


@pytest.mark.parametrize(("change", "field"), [
    ({"version": 1}, "version"), ({"length": 1}, "length"), ({"id_bits": 18}, "length"), ({"id_bits": 17}, "$[14]"),
    ({"id_bits": 20}, "$[14]"),
    ({"length": MAX_OUTPUT_TOKENS + 1}, "$[15]"), ({"seed": b""}, "$[12]"), ({"params": Params(2001)}, "$[11][0]"),
])
def test_a_wrong_header_names_its_field(change: dict[str, object], field: str) -> None:
    made = artifacts.build(HEADER, [TokenStep(5, "", -1.0)] * 2)
    with pytest.raises(RemoteProtocolError) as error:
        artifacts.parse(artifacts.Artifact(replace(made.header, **change), made.rows).to_bytes())
    assert error.value.field == field
