"""`python -m p2p.lab.measure.kernel_distance DIR`: measures how far apart the numbers are that validators reveal.

Law: the ledger's own comparison (`verdict_comparison.py`) on real prefills; what DIR holds already is not run again.

Honest answers of one stack are scored with the right weights on several kernels, and with cheaper weights. A model's
`kernel_distance_milli` must lie above the distances of the first kind and below those of the second (rule J7, decision
028).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trio

from p2p.base.body import one_message
from p2p.base.keys import digest
from p2p.base.serving_limits import REVEAL_POSITIONS
from p2p.base.types import RevealedRow
from p2p.inference.stack.model import MODEL_NAME, prepare_model
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.lab.attacks import weights
from p2p.lab.measure.plan import FREE, VLLM
from p2p.lab.measure.store import Answer, Measured
from p2p.ledger.inferences.verdict_comparison import agree, mean_distance_milli
from p2p.peer.validator import next_ranks
from p2p.text.model_files import read_model_text
from p2p.verification import prompts as shipped
from p2p.verification.duty import reveal_positions
from p2p.verification.engine import Job, Row
from p2p.verification.statistics import ROW_TOP

RUN, PROMPTS, BATCH = "honest", 96, 16  # name of the run; prompts asked; rows decoded at once
REFERENCE = "torch bf16"
RIGHT = (REFERENCE, "torch float32", VLLM)  # validators with the model's own weights
CHEAP = ("int8", "fp8", "int6", "int4")


def collect(measured: Measured) -> None:
    """Generate the answers, and score them with every validator of RIGHT and CHEAP, as far as they are missing."""
    model = prepare_model()
    honest, words, prompts = TorchModel(model), read_model_text(model), shipped.load()[:PROMPTS]
    if not measured.has_answers(RUN):
        jobs = [
            Job(words.prompt(one_message(p.text)), p.max_tokens, FREE, digest(b"apart", p.id.encode())) for p in prompts
        ]
        steps = generate_all(honest, jobs, max_rows=BATCH)
        measured.put_answers(RUN, [
            Answer(p.id, job.seed.hex(), tuple(job.prompt_tokens), tuple(found))
            for p, job, found in zip(prompts, jobs, steps, strict=True)
        ])
    answers = measured.answers(RUN)
    for name in (*RIGHT, *CHEAP):
        if measured.has_rows(RUN, name):
            continue
        started = time.perf_counter()
        if name == VLLM:
            rows: list[tuple[Row, ...]] = trio.run(_by_vllm, model, measured.directory, answers)
        else:
            cheap = name in CHEAP
            engine = TorchModel(weights.prepare(name, source=model)) if cheap else TorchModel(model, dtype=_dtype(name))
            rows = engine.prefill_rows_batch([(a.prompt_tokens, a.tokens) for a in answers], ROW_TOP)
        measured.put_rows(RUN, name, rows)
        print(f"{name}: {len(answers)} answers in {time.perf_counter() - started:.0f} s", flush=True)


def _dtype(name: str) -> str:
    return "float32" if name.endswith("float32") else "bfloat16"


async def _by_vllm(model: Path, directory: Path, answers: list[Answer]) -> list[tuple[Row, ...]]:
    async with vllm_server(model, served_name=MODEL_NAME, log=directory / "vllm.log", progress=print) as url:
        client = VllmClient(url, MODEL_NAME)
        try:
            return [await client.score(a.prompt_tokens, a.tokens, ROW_TOP) if a.tokens else () for a in answers]
        finally:
            await client.close()


def distances(measured: Measured, one: str, other: str, tolerance_milli: int = 0) -> tuple[list[int], float]:
    """How far apart the numbers are that two validators (names in RIGHT or CHEAP) reveal.

    Returns (distance over each answer's common positions, thousandths of a nat; share of answers on which both agree
    within `tolerance_milli` thousandths of a nat). Answers too short for a full reveal are left out.
    """
    found, same = [], 0
    for number, (a, b) in enumerate(zip(measured.rows(RUN, one), measured.rows(RUN, other), strict=True)):
        if len(a) <= REVEAL_POSITIONS:
            continue
        left, right = _shown(a, number), _shown(b, number)
        same += agree(left, right, tolerance_milli) is True
        if (distance := mean_distance_milli(left, right)) is not None:
            found.append(distance)
    return found, same / max(len(found), 1)


def _shown(rows: list[Row], number: int) -> list[RevealedRow]:
    """What two members of a committee both reveal of an answer: half of REVEAL_POSITIONS."""
    positions = reveal_positions(bytes(32), digest(b"apart", number.to_bytes(4, "big")), bytes(32), len(rows))[::2]
    return [RevealedRow(at, next_ranks(rows[at])) for at in positions]


def table(measured: Measured) -> Iterator[str]:
    """Lines: one for each pair of validators, first those with the right weights."""
    yield (
        f"{'thousandths of a nat':<32}{'same bits':>10}{'answers':>9}{'mean':>7}{'sd':>6}{'10 %':>6}{'90 %':>6}"
        f"{'largest':>8}"
    )
    pairs = [(RIGHT[i], RIGHT[j]) for i in range(len(RIGHT)) for j in range(i)]
    pairs += [(cheap, right) for cheap in CHEAP for right in RIGHT]
    for one, other in pairs:
        found, same = distances(measured, one, other)
        low, high = np.quantile(found, [0.1, 0.9])
        yield (
            f"{one:<16}{other:<16}{same:>10.2f}{len(found):>9}{np.mean(found):>7.1f}{np.std(found):>6.1f}{low:>6.0f}"
            f"{high:>6.0f}{max(found):>8}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.kernel_distance", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder of answers and scores")
    measured = Measured(parser.parse_args().dir)
    collect(measured)
    print("\n".join(table(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
