"""`python -m p2p.lab.measure.gpu_run DIR`: what one machine's GPU makes of the calibration prompts, in eight minutes.

Law: both sides run the torch stack in bf16; what DIR holds already is not run again, and nothing begins after the time
is up. On a machine without a GPU it does the same on the CPU, slowly.

It answers the calibration prompts one by one and sixteen at a time, scores the answers on the same machine, and prints
how decoding differs from prefill there. Then carry DIR to another machine:

    python -m p2p.lab.measure.across score DIR      # a CPU's view of these answers
    python -m p2p.lab.measure.across table DIR      # the honest distance between the two machines
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from p2p.base.body import one_message
from p2p.base.keys import digest
from p2p.inference.stack.model import prepare_model
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.invariant import batch_invariant
from p2p.inference.torch.model import TorchModel
from p2p.lab.measure.across import Kind, facts_of, score
from p2p.lab.measure.store import Answer, Measured
from p2p.text.model_files import read_model_text
from p2p.text.model_text import ModelText
from p2p.verification import prompts as shipped
from p2p.verification.engine import Job
from p2p.verification.prompts import Prompt
from p2p.verification.statistics import CHOSEN, LEAD

BATCHES = (16, 1)  # rows decoded at once; the names of their runs are those of across.py
SECONDS = 420.0  # for answers; what is left of eight minutes is for scores
TOKENS = 128  # of an answer, at most


def answer(
    measured: Measured, model: TorchModel, words: ModelText, prompts: tuple[Prompt, ...], tokens: int, until: float
) -> None:
    """Both runs, as far as `until` (time.monotonic) allows: half of what is left for each."""
    for left, batch in zip((2, 1), BATCHES, strict=True):
        kind = Kind(f"honest_b{batch}", batch=batch)
        name = f"{model.stack}={kind.name}"
        if measured.has_answers(name):
            continue
        started = time.monotonic()
        end, found = started + max(until - started, 0.0) / left, list[Answer]()
        for at in range(0, len(prompts), batch):
            if found and time.monotonic() > end:
                break
            some = prompts[at : at + batch]
            jobs = [
                Job(
                    words.prompt(one_message(p.text)), min(p.max_tokens, tokens), kind.params,
                    digest(b"gpu run", kind.name.encode(), p.id.encode()),
                ) for p in some
            ]
            steps = generate_all(model, jobs, max_rows=batch)
            found += [
                Answer(p.id, job.seed.hex(), tuple(job.prompt_tokens), tuple(made))
                for p, job, made in zip(some, jobs, steps, strict=True)
            ]
        measured.put_answers(name, found)
        print(f"{name}: {len(found)} answers, {sum(len(a.steps) for a in found)} tokens in "
              f"{time.monotonic() - started:.0f} s", flush=True)


def decode_against_prefill(measured: Measured, stack: str) -> Iterator[str]:
    """A line for each run: how the numbers of decoding differ from those of a prefill on the same machine."""
    for batch in BATCHES:
        name = f"{stack}=honest_b{batch}"
        if not (measured.has_answers(name) and measured.has_rows(name, stack)):
            continue
        pairs = zip(measured.answers(name), measured.rows(name, stack), strict=True)
        kind = Kind(name, batch=batch)
        facts = np.concatenate([facts_of(a.steps, rows, kind.params, a.seed) for a, rows in pairs if a.steps])
        off = facts[:, CHOSEN]
        yield (
            f"{name}: {len(facts)} tokens, decode against prefill: same to rounding {(off <= 1e-3).mean():.4f}, mean "
            f"{off.mean():.5f} nats, largest {off.max():.4f}; lost the tape {(facts[:, LEAD] < 0).mean():.5f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.gpu_run", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder of answers and scores")
    parser.add_argument("--prompts", type=int, default=96, help="at most (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of an answer, at most (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for answers (default: %(default)s)")
    options = parser.parse_args()
    until, path = time.monotonic() + options.seconds, prepare_model()
    measured, model = Measured(options.dir), TorchModel(path)
    prompts = shipped.split(shipped.load())[0][: options.prompts]
    with batch_invariant(model.device) as kernels:
        print(f"{model.stack} on {model.device_name}: {kernels}", flush=True)
        measured.note("kernels", model.stack, kernels)
        answer(measured, model, read_model_text(path), prompts, options.tokens, until)
        score(measured, model)
    print("\n".join(decode_against_prefill(measured, model.stack)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
