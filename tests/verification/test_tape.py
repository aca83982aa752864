"""The tape: Random123's known answers, golden rows, and one answer whatever way a token's noise is asked for."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.types import Params
from p2p.verification import tape

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
GOLDEN_HASH = "1efe8193f1e8d3d5e0537e44386e6658e185cf445b05c0f0efeec525533abefb"


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    words = tape.philox(tuple(np.array([c], dtype=np.uint64) for c in counter), key)  # type: ignore[arg-type]
    assert tuple(int(w[0]) for w in words) == expected


def test_golden_row() -> None:
    """Part of the specification: a change here is another network."""
    row = tape.gumbel_row(bytes(range(32)), 5, 1000)
    rounded = np.round(row, 9).tobytes()
    assert [round(float(x), 9) for x in row[:3]] == GOLDEN_FIRST
    assert hashlib.sha256(rounded).hexdigest() == GOLDEN_HASH


@given(st.binary(min_size=32, max_size=32), st.integers(0, 5000), st.lists(st.integers(0, 49151), min_size=1, max_size=20))
def test_single_tokens_get_the_rows_noise(seed: bytes, position: int, tokens: list[int]) -> None:
    row = tape.gumbel_row(seed, position, 49152)
    assert np.array_equal(tape.gumbel_at(seed, position, tokens), row[tokens])


def test_noise_is_gumbel() -> None:
    row = tape.gumbel_row(hashlib.sha256(b"x").digest(), 1, 200_000)
    assert abs(row.mean() - 0.57722) < 0.01
    assert abs(row.var() - np.pi**2 / 6) < 0.03


def test_masks_keep_only_what_they_should() -> None:
    row, noise = np.log(np.array([0.5, 0.3, 0.15, 0.05])), np.zeros(4)
    assert np.isfinite(tape.scores(row, Params(1000, 2, 0), noise)).tolist() == [True, True, False, False]
    assert np.isfinite(tape.scores(row, Params(1000, 0, 400), noise)).tolist() == [True, True, False, False]
    assert np.isfinite(tape.scores(row, Params(0, 1, 0), noise)).all()


def test_seed_depends_on_every_part() -> None:
    base = tape.tape_seed(bytes(32), bytes(32), 1)
    one = b"\x01" * 32
    others = {tape.tape_seed(one, bytes(32), 1), tape.tape_seed(bytes(32), one, 1), tape.tape_seed(bytes(32), bytes(32), 2)}
    assert len(others | {base}) == 4
