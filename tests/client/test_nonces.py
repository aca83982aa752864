"""A client uses each nonce once, whatever peers claim that the chain has seen."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.client.nonces import MAX_NONCE, Nonces

A, B = bytes(32), bytes([1]) * 32


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 50), st.integers(0, 5), st.booleans()), max_size=30))
def test_a_nonce_is_never_below_the_peers_word_and_never_given_twice(
    questions: list[tuple[bytes, int, int, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        nonces, given_out = Nonces(Path(directory) / "nonces"), set()
        for account, offered, further, restarted in questions:
            if restarted:
                nonces = Nonces(Path(directory) / "nonces")
            nonce = nonces.take(
                account, offered, lambda lowest, further=further: lowest + further
            )  # type: ignore[misc]
            assert nonce >= offered
            assert (account, nonce) not in given_out
            given_out.add((account, nonce))


def test_several_at_once_share_a_directory(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: Nonces(tmp_path).take(A, 1), range(200)))
    assert sorted(taken) == list(range(1, 201))


def test_a_choice_that_fails_takes_nothing(tmp_path: Path) -> None:
    def fails(lowest: int) -> int:
        raise LookupError(lowest)

    nonces = Nonces(tmp_path)
    assert nonces.take(A, 7) == 7
    with pytest.raises(LookupError, match="8"):
        nonces.take(A, 7, fails)
    assert nonces.take(A, 7) == 8


@pytest.mark.parametrize("found", ["", "no number", "-5", str(MAX_NONCE), "9" * 40])
def test_a_file_without_a_nonce_counts_for_nothing(tmp_path: Path, found: str) -> None:
    (tmp_path / A.hex()).write_text(found)
    nonces = Nonces(tmp_path)
    assert (nonces.take(A, 3), nonces.take(A, 3)) == (3, 4)


def test_where_nothing_can_be_written_the_peers_word_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nonces = Nonces(tmp_path / "file")
    assert (nonces.take(A, 3), nonces.take(A, 3)) == (3, 3)


def test_two_commands_that_lower_a_count_at_once_give_no_nonce_twice(tmp_path: Path) -> None:
    """Both commands read a count of 5000, and to both the chain's nonce 7 was proved. The second one lowered the count
    below the nonce that the first had just given out."""
    nonces, account = Nonces(tmp_path), b"\x01" * 32
    nonces.take(account, 5000)
    first, second = nonces.last(account), nonces.last(account)
    given = []
    for seen in (first, second):
        nonces.lower(account, 7, seen)
        given.append(nonces.take(account, 8))
    assert given == [8, 9]
    Nonces(tmp_path / "nowhere").lower(account, 7, 5000)
