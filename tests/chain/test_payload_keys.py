"""The keys of the database `payloads`: each kind is told from the others, and a sweep finds the inference of a key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.chain.stores import payload_keys as keys

IDS = st.binary(min_size=keys.ID_BYTES, max_size=keys.ID_BYTES)
HEIGHTS = st.integers(0, 2**64 - 1)


@given(IDS, HEIGHTS)
def test_a_sweep_looks_at_payloads_and_verdicts_only(inference_id: bytes, height: int) -> None:
    verdict = keys.verdict(inference_id, height)
    assert keys.inference_of(inference_id) == keys.inference_of(verdict) == inference_id
    for other in (keys.PLANTED, keys.sprint("m"), keys.unknown_since(inference_id), keys.unknown_since(verdict)):
        assert keys.inference_of(other) is None


@given(IDS, IDS, HEIGHTS)
def test_no_two_kinds_share_a_key(one: bytes, other: bytes, height: int) -> None:
    made = [keys.PLANTED, keys.sprint("m"), other, keys.verdict(one, height)]
    assert len({*made, *map(keys.unknown_since, made)}) == 2 * len(made)
