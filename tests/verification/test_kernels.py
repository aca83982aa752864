"""Which kernels made an answer is told by its numbers, whatever it names (decision 068)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as changed

from p2p.verification import artifact as artifacts
from p2p.verification.check import of_other_kernels, refused
from p2p.verification.engine import Row, TokenStep
from p2p.verification.kernels import Shown, judged_as, shown
from p2p.verification.profile import Profile
from testnet.simulated_engine import Toy
from tests.verification.toy import PARAMS, calibrated, claim, generate, rows

OWN, FAMILY, STRANGER = "vllm-cpu-bf16#aaaa", "vllm-cpu-bf16", "vllm-cpu-bf16#bbbb"
PROFILE = Profile(
    "toy", "", {}, 800, {f"{OWN}>{OWN}": calibrated(), f"{FAMILY}>{FAMILY}": calibrated()}, exact_context=600,
)


def answer(stack: str, steps: list[TokenStep] | None = None) -> tuple[artifacts.Artifact, tuple[Row, ...]]:
    """An answer of 40 tokens that names `stack`, and the rows of a validator with the kernels that made it."""
    made = claim(40, PARAMS, steps=steps)[0]
    header = changed(made.header, stack=stack)
    return artifacts.Artifact(header, made.rows), rows(Toy(1), made.tokens)


def moved(found: tuple[Row, ...], nats: float) -> tuple[Row, ...]:
    """The same rows as other kernels would give them."""
    rng = np.random.default_rng(1)
    return tuple({token: p + nats * float(rng.normal()) for token, p in row.items()} for row in found)


def test_equal_numbers_are_equal_kernels_and_others_are_not() -> None:
    made, own = answer(OWN)
    assert shown(made.positions(), own) is Shown.EQUAL
    assert shown(made.positions(), moved(own, 0.05)) is Shown.OTHER
    assert shown(made.positions()[:4], own[:4]) is Shown.UNCLEAR, "a few tokens tell nothing"


@pytest.mark.parametrize("named", [OWN, FAMILY, STRANGER, "kernels of nobody"])
def test_whoever_has_equal_numbers_is_judged_as_equal_whatever_it_names(named: str) -> None:
    made, own = answer(named)
    found = judged_as(PROFILE, OWN, made, own)
    assert (found.stack, found.equal, found.refuted) == (OWN, True, False)


def test_numbers_that_do_not_fit_the_kernels_named_refute_the_claim() -> None:
    made, own = answer(OWN)
    assert judged_as(PROFILE, OWN, made, moved(own, 0.05)).refuted
    made, own = answer(STRANGER)
    found = judged_as(PROFILE, OWN, made, moved(own, 0.05))
    assert (found.stack, found.equal, found.refuted) == (STRANGER, False, False), "it says so itself"
    report = of_other_kernels(replace(refused(""), valid=True, llr_milli=-3000))
    assert not report.valid
    assert report.llr_milli > 0


def test_nothing_is_said_beyond_the_context_in_which_kernels_are_exact_or_without_rows() -> None:
    made, own = answer(OWN)
    short = replace(PROFILE, exact_context=20)
    assert not judged_as(short, OWN, made, own).equal
    assert not judged_as(short, OWN, made, moved(own, 0.05)).refuted
    assert not judged_as(PROFILE, OWN, made, ()).refuted


def test_tokens_that_were_taken_over_show_the_kernels_of_nobody() -> None:
    """The numbers of those are this executor's own prefill, but whoever streamed them answers for the tokens."""
    steps = generate(Toy(1), 40, PARAMS)
    made, own = answer(STRANGER, steps)
    off = (*moved(own[:20], 0.05), *own[20:])
    assert shown(made.positions(), off) is not Shown.EQUAL
    assert shown(made.positions()[20:], off[20:]) is Shown.EQUAL
