"""The tape: Random123's known answers, the golden vectors of TAPE.md against three generators (NumPy, torch, plain
integers), the masks and penalties, and one answer whatever way it is asked for."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.errors import InvalidRequest
from p2p.base.sampling_params import check_params, make_params
from p2p.base.serving_limits import MAX_TOP_K
from p2p.base.types import Params
from p2p.verification import tape, tape_torch
from p2p.verification.sampling import Sampling
from tests.golden.regenerate_tape import FILE, Only, cases, scores_of, vectors

# Philox4x32-10, from Random123's kat_vectors: counter, key -> output
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

GOLDEN_FIRST = [1.357673435, 0.667861934, 0.669874473]
GOLDEN = json.loads(FILE.read_text())
CPU = torch.device("cpu")
SEEDS = st.binary(min_size=32, max_size=32)
MILLI = st.integers(0, 1000)
PENALTY = st.integers(-2000, 2000)
PARAMS = st.builds(Params, st.integers(0, 2000), st.integers(1, MAX_TOP_K), MILLI, MILLI, PENALTY, PENALTY)
GOLDEN_HASH = "1efe8193f1e8d3d5e0537e44386e6658e185cf445b05c0f0efeec525533abefb"


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    words = tape.philox(tuple(np.array([c], dtype=np.uint64) for c in counter), key)  # type: ignore[arg-type]
    assert tuple(int(w[0]) for w in words) == expected


def words_by_hand(seed: bytes, position: int, token: int) -> int:
    """TAPE.md in plain integers, from the text alone."""
    k0, k1 = int.from_bytes(seed[:4], "little"), int.from_bytes(seed[4:8], "little")
    c = [token // 4, position, 0, 0x666F6C6B]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 % 2**32, (p0 >> 32) ^ c[3] ^ k1, p0 % 2**32]
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c[token % 4]


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda v: f"{v['seed'][:8]}-{v['position']}")
def test_golden_vectors(vector: dict[str, Any]) -> None:
    seed, position, tokens = bytes.fromhex(vector["seed"]), vector["position"], vector["tokens"]
    words = [int(word, 16) for word in vector["words"]]
    assert tape.words_at(seed, position, tokens).tolist() == words
    assert [words_by_hand(seed, position, token) for token in tokens] == words
    assert np.abs(tape.gumbel_at(seed, position, tokens) - vector["gumbel"]).max() < 1e-12


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['name']}-{c['position']}")
def test_golden_choices(case: dict[str, Any]) -> None:
    seed, row, params = bytes.fromhex(case["seed"]), np.array(case["logprobs"]), Params(**case["params"])
    scored = scores_of(case)
    assert np.flatnonzero(np.isfinite(scored)).tolist() == case["kept"]
    assert int(np.argmax(scored)) == case["chosen"]
    before = [token for token, times in enumerate(case["counts"] or ()) for _ in range(times)]
    bias = {token: milli / 1000 for token, milli in case["bias"]}
    allowed = None if case["allowed"] is None else torch.isin(torch.arange(len(row)), torch.tensor(case["allowed"]))
    noise = tape_torch.gumbel_rows([seed], [case["position"]], len(row), CPU)[0]
    shifts = (0.0,) if params.repetition_milli != 1000 else (0.0, 3.5)  # raw logits serve but for a factor
    for shift in shifts:
        again = tape_torch.scores(torch.from_numpy(row) + shift, params, noise, before, bias=bias, allowed=allowed)
        if params.repetition_milli == 1000:  # torch makes log-probabilities of this row first, which is none
            assert int(torch.argmax(again)) == case["chosen"]
            assert np.flatnonzero(torch.isfinite(again)).tolist() == case["kept"]
    assert by_hand(case) == case["chosen"]


def by_hand(case: dict[str, Any]) -> int:
    """TAPE.md, section 5, in plain Python, from the text alone."""
    params, values = case["params"], dict(enumerate(case["logprobs"]))
    values = {token: value for token, value in values.items() if case["allowed"] is None or token in case["allowed"]}
    bias = dict(case["bias"])
    for token in values:
        count = case["counts"][token] if case["counts"] else 0
        if count:
            values[token] *= params["repetition_milli"] / 1000
        values[token] -= params["presence_milli"] / 1000 * (count > 0) + params["frequency_milli"] / 1000 * count
        values[token] += bias.get(token, 0) / 1000
    if params["temperature_milli"] == 0:
        return max(values, key=lambda token: (values[token], -token))
    values = {token: value / (params["temperature_milli"] / 1000) for token, value in values.items()}
    best = sorted(values.values(), reverse=True)
    kept = best[: params["top_k"]] if params["top_k"] else best
    kept = [value for value in best if value >= kept[-1]]
    mass, total, nucleus = 0.0, sum(math.exp(value) for value in kept), []
    for value in kept:
        if nucleus and params["top_p_milli"] < 1000 and not mass / total < params["top_p_milli"] / 1000:
            break
        nucleus.append(value)
        mass += math.exp(value)
    floor = nucleus[-1]
    if params["min_p_milli"]:
        floor = max(floor, best[0] + math.log(params["min_p_milli"] / 1000))
    scored = {}
    for token, value in values.items():
        word = words_by_hand(bytes.fromhex(case["seed"]), case["position"], token)
        scored[token] = value - math.log(-math.log((word + 0.5) / 2**32)) if value >= floor else -math.inf
    return max(scored, key=lambda token: (scored[token], -token))


def test_the_golden_file_is_what_the_generator_writes() -> None:
    assert GOLDEN["cases"] == json.loads(json.dumps(cases()))
    assert [v["words"] for v in GOLDEN["vectors"]] == [v["words"] for v in vectors()]
    for entry in GOLDEN["seeds"]:
        made = tape.tape_seed(
            bytes.fromhex(entry["beacon"]), bytes.fromhex(entry["inference_id"]), entry["client_nonce"]
        )
        assert made.hex() == entry["seed"]


@settings(deadline=None)
@given(st.lists(st.tuples(SEEDS, st.integers(0, 2**32 - 1)), min_size=1, max_size=4), st.integers(1, 700))
def test_torch_gives_the_same_words(rows: list[tuple[bytes, int]], vocab: int) -> None:
    seeds, positions = [seed for seed, _ in rows], [position for _, position in rows]
    words = tape_torch.words_rows(seeds, positions, vocab, CPU)
    noise = tape_torch.gumbel_rows(seeds, positions, vocab, CPU)
    for at, (seed, position) in enumerate(rows):
        assert words[at].tolist() == tape.words_at(seed, position, range(vocab)).tolist()
        assert np.allclose(noise[at].numpy(), tape.gumbel_row(seed, position, vocab), rtol=0, atol=1e-12)


def test_torch_gives_the_same_words_at_the_largest_ids() -> None:
    ids = torch.tensor([2**20, 2**31, 2**32 - 1], dtype=torch.int64)
    at, zero = torch.full_like(ids, 2**32 - 1), torch.zeros_like(ids)
    full = torch.full_like(ids, 0xFFFFFFFF)
    out = tape_torch.philox((ids, at, zero, zero + tape.DOMAIN), (full, full))
    counter = tuple(t.numpy().astype(np.uint64) for t in (ids, at, zero, zero + tape.DOMAIN))
    same = tape.philox(counter, (0xFFFFFFFF, 0xFFFFFFFF))  # type: ignore[arg-type]
    assert [o.tolist() for o in out] == [s.tolist() for s in same]


@settings(max_examples=300, deadline=None)
@given(
    SEEDS, PARAMS, st.integers(1, 300), st.lists(st.integers(0, 299), max_size=40), st.booleans(),
    st.integers(100, 10_000) | st.just(1000), st.dictionaries(st.integers(0, 299), st.floats(-100, 100), max_size=5),
    st.none() | st.integers(0, 2**32 - 1),
)
def test_torch_scores_alike(
    seed: bytes, params: Params, vocab: int, before: list[int], coarse: bool, repetition: int, bias: dict[int, float],
    mask: int | None,
) -> None:
    params = replace(params, repetition_milli=repetition)
    row = np.random.default_rng(list(seed)).normal(0.0, 4.0, vocab)
    row = np.round(row * 8) / 8 if coarse else row  # bfloat16 logits tie often
    before, bias = [token % vocab for token in before], {token: nats for token, nats in bias.items() if token < vocab}
    noise = tape.gumbel_row(seed, len(before), vocab)
    allowed = None if mask is None else [0, *np.flatnonzero(np.random.default_rng(mask).random(vocab) < 0.3).tolist()]
    state = Sampling(
        params, bias=bias, grammar=None if allowed is None else lambda: Only(vocab, allowed)
    ).begin(before)
    one = state.scores(state.levels(row), np.arange(vocab), noise)
    two = tape_torch.scores(
        torch.from_numpy(row), params, torch.from_numpy(noise), before, bias=bias,
        allowed=None if allowed is None else torch.isin(torch.arange(vocab), torch.tensor(allowed)),
    )
    assert np.allclose(one, two.numpy(), rtol=1e-11, atol=1e-11)
    assert one[int(torch.argmax(two))] >= one.max() - 1e-11


@settings(max_examples=300, deadline=None)
@given(SEEDS, PARAMS, st.lists(st.integers(0, 199), max_size=40))
def test_a_validators_candidates_choose_what_the_vocabulary_does(
    seed: bytes, params: Params, before: list[int]
) -> None:
    """The best candidates and the chosen token, in any order, give its score and its mask: as long as they hold every
    token that the penalties leave inside top-k, and for the rest of the masks the ones near the best."""
    row = np.random.default_rng(list(seed)).normal(0.0, 4.0, 200)
    full = tape.scores(row, params, tape.gumbel_row(seed, len(before), 200), tape.output_counts(before, range(200)))
    chosen = int(np.argmax(full))
    inside = np.flatnonzero(np.isfinite(full)) if params.temperature_milli else np.argsort(-row)[:MAX_TOP_K]
    best = np.argsort(-tape.penalised(row, params, tape.output_counts(before, range(200))))[:MAX_TOP_K]
    ids = np.random.default_rng(1).permutation(sorted({chosen, *inside.tolist(), *best.tolist()})).tolist()
    seen = tape.scores(row[ids], params, tape.gumbel_at(seed, len(before), ids), tape.output_counts(before, ids))
    assert np.allclose(seen, full[ids], rtol=1e-9)
    assert ids[int(np.argmax(seen))] == chosen


def test_golden_row() -> None:
    """Part of the specification: a change here is another network."""
    row = tape.gumbel_row(bytes(range(32)), 5, 1000)
    rounded = np.round(row, 9).tobytes()
    assert [round(float(x), 9) for x in row[:3]] == GOLDEN_FIRST
    assert hashlib.sha256(rounded).hexdigest() == GOLDEN_HASH


@settings(deadline=None)
@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 5000), st.lists(st.integers(0, 49151), min_size=1, max_size=20)
)
def test_single_tokens_get_the_rows_noise(seed: bytes, position: int, tokens: list[int]) -> None:
    row = tape.gumbel_row(seed, position, 49152)
    assert np.array_equal(tape.gumbel_at(seed, position, tokens), row[tokens])


@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 2**31), st.booleans(),
    st.lists(st.lists(st.integers(0, 2**20), max_size=9), max_size=9),
)
def test_the_noise_of_many_rows_is_that_of_each(seed: bytes, first: int, hot: bool, rows: list[list[int]]) -> None:
    params = Params() if hot else Params(0)
    found = tape.noise_of_rows(seed, first, rows, params)
    assert [len(noise) for noise in found] == [len(row) for row in rows]
    for position, (row, noise) in enumerate(zip(rows, found, strict=True), first):
        alone = tape.gumbel_at(seed, position, row) if hot else np.zeros(len(row))
        assert np.abs(noise - alone).max(initial=0.0) < 1e-12


def test_noise_is_gumbel() -> None:
    row = tape.gumbel_row(hashlib.sha256(b"x").digest(), 1, 200_000)
    assert abs(row.mean() - 0.57722) < 0.01
    assert abs(row.var() - np.pi**2 / 6) < 0.03


def test_masks_keep_only_what_they_should() -> None:
    row, noise = np.log(np.array([0.5, 0.3, 0.15, 0.05])), np.zeros(4)
    assert np.isfinite(tape.scores(row, Params(1000, 2, 0), noise)).tolist() == [True, True, False, False]
    assert np.isfinite(tape.scores(row, Params(1000, 0, 400), noise)).tolist() == [True, True, False, False]
    assert np.isfinite(tape.scores(row, Params(0, 1, 0), noise)).all()


def test_top_p_is_the_smallest_head_of_top_k() -> None:
    row, noise = np.log(np.array([0.05, 0.4, 0.2, 0.3, 0.05])), np.zeros(5)
    kept = {
        top_p: np.flatnonzero(np.isfinite(tape.scores(row, Params(1000, 3, 0, top_p), noise))).tolist()
        for top_p in (0, 444, 445, 777, 778, 999)
    }
    # within the three best the masses before are 0, 0.4 / 0.9 = 0.4444, 0.7 / 0.9 = 0.7778
    assert kept == {0: [1], 444: [1], 445: [1, 3], 777: [1, 3], 778: [1, 2, 3], 999: [1, 2, 3]}


def test_min_p_is_taken_after_the_temperature() -> None:
    row, noise = np.log(np.array([0.5, 0.3, 0.2])), np.zeros(3)
    assert np.isfinite(tape.scores(row, Params(1000, 0, 390), noise)).tolist() == [True, True, True]
    # (0.3 / 0.5)^2 = 0.36
    assert np.isfinite(tape.scores(row, Params(500, 0, 390), noise)).tolist() == [True, False, False]


@pytest.mark.parametrize("temperature", [0, 1000])
def test_penalties_count_the_output(temperature: int) -> None:
    row = np.array([-1.0, -2.0, -3.0])
    counts = tape.output_counts([0, 2, 0, 7], range(3))
    assert counts.tolist() == [2.0, 0.0, 1.0]
    scored = tape.scores(row, Params(temperature, 0, 0, 1000, 500, 250), np.zeros(3), counts)
    assert scored.tolist() == [-1.0 - 0.5 - 0.5, -2.0, -3.0 - 0.5 - 0.25]


def test_counts_of_far_ids_take_no_room() -> None:
    assert tape.output_counts([2**32 - 1, 5], [5, 6, 2**32 - 1]).tolist() == [1.0, 0.0, 1.0]
    assert tape.output_counts([], [1, 2]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("params", [Params(700, 0, 0, 999), Params(700, MAX_TOP_K + 1, 0, 0)])
def test_top_p_needs_a_bounded_top_k(params: Params) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_params(params)
    assert caught.value.field == "params"
    check_params(Params(700, MAX_TOP_K, 0, 0))
    check_params(Params(700, 1 << 20))


@pytest.mark.parametrize(
    "numbers",
    [{"temperature_milli": 2001}, {"presence_milli": -2001}, {"top_k": -1}, {"colour": 1}, {"top_p_milli": 5}]
)
def test_numbers_of_the_outside_are_bounded(numbers: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_params(**numbers)
    assert caught.value.field == "params"


def test_seed_depends_on_every_part() -> None:
    base = tape.tape_seed(bytes(32), bytes(32), 1)
    one = b"\x01" * 32
    others = {
        tape.tape_seed(one, bytes(32), 1), tape.tape_seed(bytes(32), one, 1), tape.tape_seed(bytes(32), bytes(32), 2)
    }
    assert len(others | {base}) == 4


def test_a_large_vocabulary_made_in_pieces_is_the_same() -> None:
    vocabulary, piece = 1 << 18, 4 * tape.PIECE
    row = tape.words_row(b"\x01" * 32, 7, vocabulary)
    ids = [at for edge in range(0, vocabulary + 1, piece) for at in (edge - 1, edge, edge + 3) if 0 <= at < vocabulary]
    assert len(ids) > 9
    assert row[ids].tolist() == tape.words_at(b"\x01" * 32, 7, ids).tolist()
