"""`python -m p2p.lab.measure.contexts DIR`: real answers, and what many engines say of every position of them.

Law: real engines with real weights; one prefill each, which costs a small part of generating. What DIR holds already is
not run again. redraw.py then draws the choices of honest hosts and of cheats at these positions, as often as wanted,
for any parameters and seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.keys import digest
from p2p.base.types import Params
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import MODEL_NAME, eos_ids, prepare_model
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.lab.attacks import weights
from p2p.lab.attacks.altered_system_prompt import HIDDEN
from p2p.lab.measure.plan import TORCH, VLLM
from p2p.lab.measure.store import Answer, Measured
from p2p.text.model_files import read_model_text
from p2p.verification import prompts as shipped
from p2p.verification.engine import Job, Row
from p2p.verification.statistics import ROW_TOP

RUN, PROMPTS, BATCH = "contexts", 96, 16  # name of the run; prompts asked; rows decoded at once
TEMPERATURES = (1000,)  # of the texts, thousandths
AT_ONCE = 4  # prefills that vLLM is asked for at the same time


@dataclass(frozen=True, slots=True)
class Scorer:
    """An engine whose numbers are wanted. Its rows lie under `name`."""

    name: str
    weights: str = ""  # altered weights (attacks/weights.py); '' for the right ones
    kv_cache: str = "model"
    before: tuple[int, ...] = ()  # tokens that it puts before the prompt


CHEAP = (
    Scorer("int8", "int8"), Scorer("int4", "int4"), Scorer("fp8", "fp8"), Scorer("int6", "int6"),
    Scorer("altered_system_prompt", before=HIDDEN), Scorer("fp8_kv", kv_cache="fp8"),
    Scorer("smaller_model", "smaller_model"),
)
SCORERS = (Scorer(TORCH), *CHEAP)


def collect(measured: Measured, scorers: Sequence[Scorer] = SCORERS, *, vllm: bool = True) -> None:
    """Generate the answers, and score them with every engine, as far as that is missing."""
    model = prepare_model()
    measured.note("space", "ends", eos_ids(model))
    if not measured.has_answers(RUN):
        measured.put_answers(RUN, _answers(TorchModel(model), model))
    answers = measured.answers(RUN)
    for scorer in scorers:
        if not measured.has_rows(RUN, scorer.name):
            started = time.process_time()
            folder = weights.prepare(scorer.weights, source=model) if scorer.weights else model
            engine = TorchModel(folder, kv_cache=scorer.kv_cache)
            pairs = [((*scorer.before, *a.prompt_tokens), a.tokens) for a in answers]
            measured.put_rows(RUN, scorer.name, engine.prefill_rows_batch(pairs, ROW_TOP))
            print(f"{scorer.name}: {len(answers)} answers, {time.process_time() - started:.0f} CPU s", flush=True)
    if vllm and not measured.has_rows(RUN, VLLM):
        measured.put_rows(RUN, VLLM, trio.run(_by_vllm, model, measured, answers))


def _answers(honest: TorchModel, model: Path) -> list[Answer]:
    words, prompts, found = read_model_text(model), shipped.load()[:PROMPTS], list[Answer]()
    for milli in TEMPERATURES:
        jobs = [
            Job(
                words.prompt(one_message(p.text)), p.max_tokens, Params(milli),
                digest(b"contexts", p.id.encode(), bytes([milli // 100])), ends=eos_ids(model),
            )
            for p in prompts
        ]
        steps = generate_all(honest, jobs, max_rows=BATCH)
        found += [
            Answer(p.id, job.seed.hex(), tuple(job.prompt_tokens), tuple(one))
            for p, job, one in zip(prompts, jobs, steps, strict=True)
        ]
    return found


async def _by_vllm(model: Path, measured: Measured, answers: list[Answer]) -> list[tuple[Row, ...]]:
    rows: list[tuple[Row, ...]] = [()] * len(answers)
    limit = trio.CapacityLimiter(AT_ONCE)
    async with vllm_server(model, served_name=MODEL_NAME, log=measured.directory / "vllm.log", progress=print) as url:
        client = VllmClient(url, MODEL_NAME)

        async def one(at: int) -> None:
            async with limit:
                rows[at] = await client.score(answers[at].prompt_tokens, answers[at].tokens, ROW_TOP)

        try:
            measured.note("stacks", VLLM, await stack_name(client, VLLM))
            async with trio.open_nursery() as nursery:
                for at, answer in enumerate(answers):
                    if answer.steps:
                        nursery.start_soon(one, at)
        finally:
            await client.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.contexts", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder of answers and scores")
    parser.add_argument("--no-vllm", action="store_true", help="score with the torch engines alone")
    options = parser.parse_args()
    collect(Measured(options.dir), vllm=not options.no_vllm)
    return 0


if __name__ == "__main__":
    sys.exit(main())
