"""Shows what the answers of one machine look like to a validator on another machine.

    python -m p2p.lab.measure.across answer DIR     # on one machine: generate honest and cheap answers, score them
    python -m p2p.lab.measure.across score DIR      # on another: score every run in DIR
    python -m p2p.lab.measure.across table DIR      # judge them by the shipped profile, print the table

Law: both sides run the torch stack, so that only the machine differs. Answers and scores are files in DIR, which
travels between the machines. A machine uses its GPU if it has one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.keys import digest
from p2p.base.types import Params
from p2p.inference.stack.model import MODEL_NAME, prepare_model, weights_hash
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.lab.attacks import weights
from p2p.lab.measure.facts import HEADER, laundered
from p2p.lab.measure.plan import FREE, TOP_P, TORCH, VLLM
from p2p.lab.measure.store import Answer, Measured
from p2p.text.model_files import read_model_text
from p2p.verification import profile
from p2p.verification import prompts as shipped
from p2p.verification.artifact import build
from p2p.verification.check import weigh
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.profile import Noise
from p2p.verification.statistics import CHOSEN, LEAD, ROW_TOP, Floats, answer_facts

PROMPTS = 96  # of the held-out half


@dataclass(frozen=True, slots=True)
class Kind:
    """One run that `answer` generates."""

    name: str
    weights: str = ""  # of the altered model that answers (attacks/weights.py); '' for the right one
    batch: int = 16  # rows decoded at once
    params: Params = FREE


KINDS = (
    Kind("honest_b16"), Kind("honest_b1", batch=1), Kind("honest_top_p", params=TOP_P),
    Kind("int8", "int8"), Kind("fp8", "fp8"), Kind("int4", "int4"),
)


def answer(measured: Measured) -> None:
    """Generate every run of KINDS that is missing, then score all runs here."""
    model = prepare_model()
    honest, words = TorchModel(model), read_model_text(model)
    prompts = shipped.split(shipped.load())[1][:PROMPTS]
    for kind in KINDS:
        name = f"{honest.stack}={kind.name}"
        if measured.has_answers(name):
            continue
        started = time.perf_counter()
        engine = TorchModel(weights.prepare(kind.weights, source=model)) if kind.weights else honest
        seeds = [digest(b"across", kind.name.encode(), p.id.encode()) for p in prompts]
        jobs = [
            Job(words.prompt(one_message(p.text)), p.max_tokens, kind.params, seed)
            for p, seed in zip(prompts, seeds, strict=True)
        ]
        steps = generate_all(engine, jobs, max_rows=kind.batch)
        measured.put_answers(name, [
            Answer(p.id, job.seed.hex(), tuple(job.prompt_tokens), tuple(found))
            for p, job, found in zip(prompts, jobs, steps, strict=True)
        ])
        print(f"{name}: {sum(map(len, steps))} tokens in {time.perf_counter() - started:.0f} s", flush=True)
    score(measured, honest)


def score(measured: Measured, model: TorchModel | None = None) -> None:
    """Score every run that this machine has not scored yet, and note which machine it is."""
    path = prepare_model()
    model = model or TorchModel(path)
    measured.note("machines", model.stack, {
        "weights": weights_hash(path).hex(), "device": model.device_name,
        **{name: version(name) for name in ("torch", "transformers")},
    })
    for name in measured.names():
        if measured.has_rows(name, model.stack):
            continue
        started, answers = time.perf_counter(), measured.answers(name)
        measured.put_rows(
            name, model.stack, model.prefill_rows_batch([(a.prompt_tokens, a.tokens) for a in answers], ROW_TOP)
        )
        print(f"{name}: scored by {model.stack} in {time.perf_counter() - started:.0f} s", flush=True)


def table(measured: Measured) -> Iterator[str]:
    """Lines: the machines, then one row for each run and each machine that scored it.

    Columns: answers flagged as they are; answers flagged when laundered (the text, with the numbers that the right
    weights give it on the machine that answered); tokens; share of tokens that the tape would not have chosen; mean
    absolute difference of the chosen token's log-probability, nats.
    """
    found = profile.shipped(MODEL_NAME)
    assert found is not None
    strangers = found.noise(TORCH, VLLM)
    for stack, about in sorted(measured.noted("machines").items()):
        yield f"{stack}: {about}"
    yield (
        f"judged by the pair of strangers {TORCH} > {VLLM} of the shipped profile; laundered: the text, with numbers "
        f"of the honest weights there"
    )
    yield (
        f"{'run':<32}{'validator':<18}{'flagged':>12}{'laundered':>12}{'tokens':>8}{'not the tape winner':>21}"
        f"{'mean |difference|, nats':>25}"
    )
    kinds = {kind.name: kind for kind in KINDS}
    for name in measured.names():
        made, _, kind = name.partition("=")
        for validator in sorted(measured.noted("machines")):
            if measured.has_rows(name, validator) and measured.has_rows(name, made):
                yield f"{name:<32}{validator:<18}" + _row(measured, name, made, validator, kinds[kind], strangers)


def _row(measured: Measured, name: str, made: str, validator: str, kind: Kind, strangers: Noise) -> str:
    """The figures of run `name`, made on machine `made`, as `validator` sees it."""
    answers, rows, own = measured.answers(name), measured.rows(name, validator), measured.rows(name, made)
    scored = [(a, r, o) for a, r, o in zip(answers, rows, own, strict=True) if a.steps]
    plain = [facts_of(a.steps, r, kind.params, a.seed) for a, r, _ in scored]
    washed = [facts_of(laundered(a, o), r, kind.params, a.seed) for a, r, o in scored]
    flagged, again = (sum(not weigh(facts, strangers).valid for facts in found) for found in (plain, washed))
    every = np.concatenate(plain)
    return (
        f"{f'{flagged}/{len(plain)}':>12}{f'{again}/{len(washed)}' if kind.weights else '':>12}{len(every):>8}"
        f"{(every[:, LEAD] < 0).mean():>21.4f}{every[:, CHOSEN].mean():>25.4f}"
    )


def facts_of(steps: tuple[TokenStep, ...], rows: list[Row], params: Params, seed: str) -> Floats:
    """Facts of an answer's tokens, as a validator with these rows sees them. seed: hexadecimal."""
    raw = bytes.fromhex(seed)
    positions = build(replace(HEADER, params=params, seed=raw), steps).positions()
    return np.asarray(answer_facts(positions, rows, params, raw))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.across", description=__doc__)
    parser.add_argument("what", choices=["answer", "score", "table"])
    parser.add_argument("dir", type=Path, help="folder of answers and scores")
    options = parser.parse_args()
    measured = Measured(options.dir)
    if options.what == "answer":
        answer(measured)
    elif options.what == "score":
        score(measured)
    else:
        print("\n".join(table(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
