"""`python -m p2p.lab.measure.families DIR`: the table of another model's checks, from what `folkmoot calibrate` kept.

Law: profiles are fitted on the calibration half of the prompts and judged on the other, as by `make bench-verify`;
nothing is run here. DIR is the folder that `folkmoot calibrate MODEL --work DIR` filled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from p2p.lab.measure.bench import prepare
from p2p.lab.measure.evaluate import LENGTHS, STACKS, Effort, Evaluation
from p2p.lab.measure.facts import Evidence, only
from p2p.lab.measure.plan import HONEST, by_name
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped
from p2p.verification.calibration import Facts
from p2p.verification.check import weigh
from p2p.verification.profile import Noise
from p2p.verification.statistics import LEAD, Floats

EFFORT = Effort(4000, 40_000)
SHOWN = (16, 32, 64, 128, 300, 1000)  # tokens of an answer
CHEATS = ("int4", "int8", "fp8", "int6", "wrong_temperature")


def table(measured: Measured, *, seed: int = 1) -> Iterator[str]:
    """Lines of Markdown: honest answers called a cheat, and how often cheats are, by tokens of the answer."""
    evaluation = prepare(measured, shipped.load(), seed=seed, effort=EFFORT)
    yield f"Equal kernels were exact in contexts of up to {evaluation.evidence.exact_context} tokens."
    yield ""
    yield "| honest answers (held out) | executor > validator | called a cheat | tokens | tokens that lost |"
    yield "| --- | --- | --- | --- | --- |"
    for case, executor in _honest(measured):
        for pair, noise, facts in _pairs(evaluation, case, executor):
            called = sum(not weigh(piece, noise).valid for piece in _answers(facts))
            lost = int((facts.values[:, LEAD] < 0).sum())
            yield f"| {case} | {pair} | {called} of {len(facts.lengths)} | {len(facts.values)} | {lost} |"
    yield ""
    yield "| cheat | executor > validator | " + " | ".join(f"in {n}" for n in SHOWN) + " | answers |"
    yield "| --- | --- |" + " --- |" * (len(SHOWN) + 1)
    for case, executor in _cheats(measured):
        for pair, _, facts in _pairs(evaluation, case, executor):
            curve = evaluation.curve(case, executor, pair.rpartition(" ")[2])
            rates = " | ".join(f"{curve.rates[LENGTHS.index(n)]:.3f}" for n in SHOWN)
            yield f"| {case.removesuffix('_torch')} | {pair} | {rates} | {len(facts.lengths)} |"


def _honest(measured: Measured) -> Iterator[tuple[str, str]]:
    for run in HONEST:
        if measured.has_answers(run.name):
            yield run.name, run.stack


def _cheats(measured: Measured) -> Iterator[tuple[str, str]]:
    for name in CHEATS:
        for run in (name, f"{name}_torch"):
            if measured.has_answers(run):
                yield run, by_name(run).stack
                if name != "wrong_temperature":
                    yield f"laundered_{run}", by_name(run).stack


def _pairs(evaluation: Evaluation, case: str, executor: str) -> Iterator[tuple[str, Noise, Facts]]:
    evidence: Evidence = evaluation.evidence
    for validator in STACKS:
        noise = evaluation.profiles.get(f"{executor}>{validator}")
        if noise is not None and evidence.has(case, validator):
            facts = only(evidence.facts(case, validator), evaluation.heldout)
            if facts.lengths:
                yield f"{executor} > {validator}", noise, facts


def _answers(facts: Facts) -> Iterator[Floats]:
    for start, length in zip(facts.starts(), facts.lengths, strict=True):
        yield facts.values[start : start + length]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.families", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder that `folkmoot calibrate --work DIR` filled")
    print("\n".join(table(Measured(parser.parse_args().dir))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
