"""What one executor takes over from another is proved by signatures and judged as nobody's but the signer's; nothing
else passes as taken over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from p2p.base.keys import Domain, Key
from p2p.base.types import FinishRecord, SignedStreamed
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.artifact import Artifact
from p2p.verification.streamed import chain_after, sign_streamed, wrong_handover
from testnet.simulated_engine import EOS, Toy
from tests.verification.toy import IID, PARAMS, SEED, SPEC, Noisy, calibrated, claim, generate, launder, rows

FIRST, SECOND, STRANGER = (Key(bytes([i]) * 32) for i in (0x21, 0x22, 0x23))
ME = Key(bytes(32))  # the executor that finishes in `claim`
DRAWN = (FIRST.public, SECOND.public, ME.public)


def handed(tokens: tuple[int, ...], *parts: tuple[Key, int]) -> tuple[SignedStreamed, ...]:
    """The word of each (key, tokens streamed when it died)."""
    found, at = [], 0
    for key, upto in parts:
        found.append(sign_streamed(key, "n", IID, at, upto, chain_after(IID, tokens[:upto])))
        at = upto
    return tuple(found)


def successor(made: Artifact, record: FinishRecord, taken: tuple[SignedStreamed, ...]) -> tuple[Artifact, FinishRecord]:
    after = Artifact(replace(made.header, taken=taken), made.rows)
    return after, replace(record, artifact_root=after.root(), taken_over=after.header.taken_over)


def exact(made: Artifact, req: Any, record: FinishRecord, drawn: tuple[bytes, ...] = DRAWN) -> str | None:
    return check.check_exact(made, req, record, SPEC, SEED, frozenset({EOS}), drawn=drawn)


def test_an_honest_successor_of_two_passes() -> None:
    made, req, record = claim(40, PARAMS)
    after, signed = successor(made, record, handed(made.tokens, (FIRST, 10), (SECOND, 30)))
    assert exact(after, req, signed) is None
    assert after.header.taken_over == signed.taken_over == 30
    assert signed.generated == 10
    assert artifacts.parse(after.to_bytes()) == after


def lies(tokens: tuple[int, ...]) -> dict[str, tuple[SignedStreamed, ...]]:
    one, two = handed(tokens, (FIRST, 10), (SECOND, 30))
    other = sign_streamed(FIRST, "n", bytes(32), 0, 10, chain_after(bytes(32), tokens[:10]))
    return {
        "not signed": (replace(one, signature=bytes(64)),),
        "another network": (SignedStreamed(one.record, FIRST.sign(Domain.STREAMED, "m", b"")),),
        "another inference": (other,),
        "not drawn": handed(tokens, (STRANGER, 10)),
        "itself": handed(tokens, (ME, 10)),
        "longer than was signed": (SignedStreamed(replace(one.record, tokens=11), one.signature),),
        "not from the beginning": (two,),
        "the wrong way round": handed(tokens, (SECOND, 10), (FIRST, 30)),
        "other tokens": handed((9, *tokens[1:]), (FIRST, 10)),
        "the same one twice": handed(tokens, (FIRST, 10), (FIRST, 30)),
        "a part of nothing": (one, sign_streamed(SECOND, "n", IID, 10, 10, chain_after(IID, tokens[:10]))),
        "more than there is": handed((*tokens, 7, 7), (FIRST, 42)),
        "all there is": handed(tokens, (FIRST, 40)),
    }


@pytest.mark.parametrize("lie", sorted(lies(claim(40, PARAMS)[0].tokens)))
def test_what_is_not_proved_was_not_taken_over(lie: str) -> None:
    made, req, record = claim(40, PARAMS)
    after, signed = successor(made, record, lies(made.tokens)[lie])
    assert exact(after, req, signed) is not None


def test_a_count_without_proof_and_a_proof_without_the_draw_are_refused() -> None:
    made, req, record = claim(40, PARAMS)
    lie = str(exact(made, req, replace(record, taken_over=40)))
    assert "two counts" in lie, "the claim of old that skipped the tape"
    taken = handed(made.tokens, (FIRST, 10))
    after, signed = successor(made, record, taken)
    assert exact(after, req, signed, ()) is not None
    wrong = exact(after, req, signed, (ME.public, FIRST.public))
    assert wrong is not None, "nobody takes over from one that comes later"
    assert exact(after, req, replace(signed, taken_over=9)) is not None
    assert wrong_handover(taken, made.tokens[:9], "n", IID, DRAWN, ME.public) is not None
    wrong = wrong_handover((), made.tokens[:9], "n", IID, DRAWN, ME.public)
    assert wrong == "tokens were taken over that nobody signed for"


def little_losses(run: int, many: int = 6) -> list[Any]:
    """20 tokens of which `many` lose the tape by a little: honest by no kernels, and below what an executor refuses to
    go on from."""
    steps, left = generate(Noisy(run=run), 20, PARAMS), many
    for at in range(0, 20, 3):
        row = rows(Toy(1), tuple(s.token for s in steps[:at + 1]))[at]
        noise = tape.gumbel_at(SEED, at, list(row))
        ranked = sorted(((p + float(g), token) for (token, p), g in zip(row.items(), noise, strict=True)), reverse=True)
        if left and ranked[0][0] - ranked[1][0] < 0.9:
            steps[at:] = [type(steps[at])(ranked[1][1], "", row[ranked[1][1]], steps[at].top)]
            steps += following([s.token for s in steps], 20 - len(steps))
            left -= 1
    return steps


def following(before: list[int], count: int) -> list[Any]:
    from p2p.verification.engine import TokenStep

    context, found = [*(1, 50, 60), *before], []
    for position in range(len(before), len(before) + count):
        row = Toy(1).logprobs(context)
        token = int(np.argmax(row + tape.gumbel_row(SEED, position, len(row))))
        found.append(
            TokenStep(token, "", float(row[token]), tuple((int(t), float(row[t])) for t in np.argsort(-row)[:8]))
        )
        context.append(token)
    return found


@pytest.mark.parametrize("run", range(6))
def test_a_prefix_that_loses_by_a_little_never_flags_its_successor(run: int) -> None:
    prefix = little_losses(run)
    own = following([s.token for s in prefix], 20)
    tokens = tuple(s.token for s in (*prefix, *own))
    made, req, record = claim(40, PARAMS, steps=[*launder(prefix, rows(Toy(1), tokens[:20])), *own])
    after, signed = successor(made, record, handed(made.tokens, (FIRST, 20)))
    assert exact(after, req, signed) is None
    for equal, judge in ((True, Toy(1)), (False, Noisy(run=run + 50))):
        report = check.judge(after, rows(judge, made.tokens), calibrated(), equal=equal)
        assert (report.valid, report.tokens) == (True, 40), report.reason
    assert not check.judge(
        made, rows(Toy(1), made.tokens), calibrated(), equal=True
    ).valid, "its signer would have to answer for it"


def test_a_prefix_does_not_hide_what_comes_after_it() -> None:
    steps = generate(Toy(1), 20, PARAMS)
    cheap = [*steps, *generate(Toy(2), 40, PARAMS)[20:]]
    made, _, record = claim(40, PARAMS, steps=launder(cheap, rows(Toy(1), tuple(s.token for s in cheap))))
    after, _ = successor(made, record, handed(made.tokens, (FIRST, 20)))
    assert not check.judge(after, rows(Noisy(run=7), made.tokens), calibrated()).valid
