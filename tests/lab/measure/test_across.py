"""Answers of one machine in another's table.

Honest answers of other kernels pass, another model's do not, laundered or not. A machine that has not scored an answer
judges nobody.
"""

from __future__ import annotations

from pathlib import Path

from p2p.lab.measure.across import KINDS, table
from p2p.lab.measure.store import Answer, Measured
from p2p.verification.engine import TokenStep
from testnet.simulated_engine import Toy
from tests.verification.toy import PROMPT, SEED, Noisy, generate, rows

THERE, HERE = "there", "here"
COUNT, TOKENS = 6, 40


def run(measured: Measured, name: str, model: Toy) -> None:
    """`there` answers with `model`, and scores with the right one's kernels of its own."""
    params = next(kind.params for kind in KINDS if kind.name == name)
    steps = [tuple(generate(model, TOKENS, params)) for _ in range(COUNT)]
    measured.put_answers(
        f"{THERE}={name}", [Answer(f"p{i}", SEED.hex(), tuple(PROMPT), found) for i, found in enumerate(steps)]
    )
    for stack, kernels in ((THERE, 3), (HERE, 4)):
        measured.put_rows(f"{THERE}={name}", stack, [rows(Noisy(run=kernels), tokens_of(found)) for found in steps])


def tokens_of(steps: tuple[TokenStep, ...]) -> tuple[int, ...]:
    return tuple(step.token for step in steps)


def test_the_table_says_who_was_called_a_cheat_and_by_whom(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    run(measured, "honest_b16", Noisy(run=1))
    run(measured, "int4", Toy(2))
    for stack in (THERE, HERE):
        measured.note("machines", stack, {"device": stack})
    measured.note("machines", "elsewhere", {"device": "scored nothing"})
    lines = [line.split() for line in table(measured) if line.startswith(f"{THERE}=")]
    found = {(line[0], line[1]): line[2:] for line in lines}
    assert set(found) == {(f"{THERE}={name}", stack) for name in ("honest_b16", "int4") for stack in (THERE, HERE)}
    for stack in (THERE, HERE):
        assert found[f"{THERE}=honest_b16", stack][0] == f"0/{COUNT}"
        assert found[f"{THERE}=honest_b16", stack][1] == str(COUNT * TOKENS), "honest ones are not laundered"
        assert found[f"{THERE}=int4", stack][:2] == [f"{COUNT}/{COUNT}"] * 2
        assert float(found[f"{THERE}=honest_b16", stack][2]) < 0.1 < float(found[f"{THERE}=int4", stack][3])
