"""Speculative decoding changes how many passes an answer takes, and nothing of the answer. A tiny model with random
weights in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from p2p.base.types import Params
from p2p.inference.torch.decode import Decoder, generate_all
from p2p.inference.torch.model import TorchModel
from p2p.inference.torch.speculative import DRAFT, LEAST, NGRAM, TRIES, Lookup, SpeculativeDecoder
from p2p.verification.artifact import pack_rows
from p2p.verification.engine import Job, TokenStep
from tests.inference.torch.tiny import tiny

GREEDY, SAMPLED = Params(0, min_tokens=64), Params(300, min_tokens=64)
PENALISED = Params(500, frequency_milli=-300, min_tokens=64)
AGAIN = tuple(range(10, 22)) * 4  # a text that repeats
FEW = ((20, 50_000), (21, 50_000), (22, 50_000))  # tokens that alone are chosen: such an answer repeats itself


def job(params: Params, seed: int = 3, tokens: int = 48, prompt: tuple[int, ...] = AGAIN) -> Job:
    return Job(prompt, tokens, params, bytes([seed]) * 32, ends=(1,), bias=FEW)


def answers(jobs: Sequence[Job], rows: int = 4) -> tuple[list[list[TokenStep]], list[list[TokenStep]], int]:
    """(without, with, passes)."""
    made: list[SpeculativeDecoder] = []

    def kept(model: TorchModel, most: int) -> Decoder:
        made.append(SpeculativeDecoder(model, most))
        return made[0]

    plain = generate_all(tiny(), jobs, rows)
    return plain, generate_all(tiny(), jobs, rows, kept), made[0].passes


@pytest.mark.parametrize("params", [GREEDY, SAMPLED, PENALISED], ids=["greedy", "T = 0.3", "penalties"])
def test_an_answer_is_the_same_byte_for_byte(params: Params) -> None:
    jobs = [job(params, seed) for seed in range(6)]  # more than rows: some join while others draft
    plain, found, _ = answers(jobs)
    for before, after in zip(plain, found, strict=True):
        assert [(s.token, s.text) for s in before] == [(s.token, s.text) for s in after]
        assert pack_rows(before) == pack_rows(after), "what is published is the same, too"


def test_a_text_that_repeats_takes_fewer_passes() -> None:
    plain, _, passes = answers([job(GREEDY, tokens=64)])
    assert len(plain[0]) == 64
    assert passes < 50, "several tokens in a pass"


def test_a_prefix_and_a_last_token_are_kept() -> None:
    begun = replace(job(GREEDY), prefix=AGAIN[:5], begun=AGAIN[:3], max_tokens=20)
    plain, found, _ = answers([begun, job(GREEDY, tokens=1), job(GREEDY, tokens=2)])
    assert [[s.token for s in one] for one in plain] == [[s.token for s in one] for one in found]
    assert [len(one) for one in found] == [15, 1, 2]


def test_drafts_are_what_followed_last_time_and_end_where_they_are_refused() -> None:
    known = Lookup()
    known.extend([1, 2, 3, 9, 8, 7, 1, 2, 3])
    assert known.draft(DRAFT) == [9, 8, 7, 1]
    assert known.draft(0) == []
    known.extend([4])
    assert known.draft(DRAFT) == [], "this never stood there before"
    known.extend([1, 2, 3])
    assert known.draft(2) == [4, 1], "the newest place counts"
    known.tried, known.kept = TRIES, int(TRIES * LEAST) - 1
    assert known.draft(DRAFT) == []
    assert NGRAM == 3
