"""A reference kernel: the same bits on every processor, in every batch, decoded or read at once. Law: every sum is made
in float64 of bfloat16 values and rounded to bfloat16, so the order of its terms no longer matters.

    model = ReferenceModel(path)                                # a TorchModel like any other, only slower
    python -m p2p.inference.torch.reference [MODEL]             # its bits and its cost here

A product of two bfloat16 values is exact in float64, and a sum of thousands of them is wrong by some 2^-45 of its size.
Kernels add in different orders, by processor, batch and number of threads; what they disagree in is far below the last
bit that is kept, 2^-8. Two sums differ after rounding only where the exact one lies within 2^-45 of the middle between
two bfloat16 values: about one in 10^11. Decision 086 says what this is good for, and what not.

Only models whose parts are in `_exact` (Llama and its like) are changed; others are refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import torch

from p2p.base.body import one_message
from p2p.base.errors import ConfigError
from p2p.base.types import Params
from p2p.inference.stack.instructions import VARIABLE
from p2p.inference.stack.model import prepare_model
from p2p.inference.torch.decode import generate_all
from p2p.inference.torch.model import TorchModel
from p2p.text.model_files import read_model_text
from p2p.verification.engine import Job

EXACT = torch.float64


class ReferenceModel(TorchModel):
    """A loaded model whose numbers are the same bits everywhere. path, threads: as of TorchModel. On the CPU only.

    Raises ConfigError for a model with a part that it does not know."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        super().__init__(path, dtype="float64", device="cpu", threads=threads)
        with torch.no_grad():
            for weight in self._module.parameters():
                weight.copy_(rounded(weight))
        for module in self._module.modules():
            _exact(module)

    @property
    def stack(self) -> str:
        return "reference-bf16"


def rounded(value: torch.Tensor) -> torch.Tensor:
    """`value` (float64, any shape) with the precision of bfloat16, still as float64."""
    return value.to(torch.bfloat16).to(EXACT)


def _exact(module: Any) -> None:
    """Make one part of a model exact. Raises ConfigError where it is of a kind that is not known."""
    kind = type(module).__name__
    if kind.endswith("RMSNorm"):
        module.forward = lambda x: _norm(x, module.weight, module.variance_epsilon)
    elif kind.endswith("RotaryEmbedding"):
        module.forward = lambda x, position_ids: _angles(module, position_ids)
    elif kind in ("Linear", "Embedding", "SiLU", "SiLUActivation"):
        module.register_forward_hook(lambda _module, _arguments, out: rounded(out))
    elif kind.endswith("Attention"):
        module.o_proj.register_forward_pre_hook(lambda _module, arguments: (rounded(arguments[0]),))
    elif not any(True for _ in module.children()):
        raise ConfigError(f"the reference kernel does not know a {kind}", field="model_path")


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root mean square normalisation (Zhang and Sennrich 2019) of (..., hidden)."""
    return rounded(weight * rounded(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)))


def _angles(module: Any, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2021), each (rows, positions, head size)."""
    half = position_ids[:, :, None].to(EXACT) * module.inv_freq.to(EXACT)
    angles = torch.cat((half, half), dim=-1)
    return rounded(angles.cos() * module.attention_scaling), rounded(angles.sin() * module.attention_scaling)


# -- what it gives and costs, measured ---------------------------------------------------------------------------------

TOPICS = ("a mill", "Rome", "tea", "the moon", "a bicycle", "rain", "a lighthouse", "ants", "salt", "a violin", "glass",
          "winter")
TOKENS = 32
SAME = 1e-4  # nats; a sum over the vocabulary in float32 differs by a tenth of it, and validators take it as equal
PROCESSORS: dict[str, dict[str, str]] = {  # that this one can play
    "this one": {"THREADS": "2"},
    "one thread": {"THREADS": "1"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", VARIABLE: "AVX2"},
    "SSE4": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", VARIABLE: "SSE41"},
}
MODELS: dict[str, Callable[..., TorchModel]] = {"reference": ReferenceModel, "bfloat16": TorchModel}
Numbers = list[tuple[int, float]]  # token and log-probability, of all answers


def measure(path: Path, kind: str) -> dict[str, tuple[Numbers, float]]:
    """way -> (numbers, CPU milliseconds a token), in this process, which reads what it decoded alone."""
    model, words = MODELS[kind](path, threads=int(os.environ.get("THREADS", "2"))), read_model_text(path)
    asked = [words.prompt(one_message(f"Tell me something about {topic}.")) for topic in TOPICS]
    jobs = [Job(tokens, TOKENS, Params(1000), bytes([at]) * 32) for at, tokens in enumerate(asked)]
    found: dict[str, tuple[Numbers, float]] = {}
    answers: list[list[int]] = []
    for way, rows in (("decoded alone", 1), ("decoded together", len(TOPICS))):
        begun = time.process_time()
        made = generate_all(model, jobs, max_rows=rows)
        spent = time.process_time() - begun
        found[way] = [(s.token, s.logprob) for steps in made for s in steps], spent * 1e3 / sum(map(len, made))
        answers = answers or [[step.token for step in steps] for steps in made]
    pairs = [(job.prompt_tokens, answer) for job, answer in zip(jobs, answers, strict=True)]
    for way, size in (("read alone", 1), ("read together", len(TOPICS))):
        begun = time.process_time()
        read = [row for at in range(0, len(TOPICS), size) for row in model.prefill_rows_batch(pairs[at : at + size], 8)]
        spent = time.process_time() - begun
        numbers = [(t, row[t]) for (_, answer), rows_ in zip(pairs, read, strict=True)
                   for t, row in zip(answer, rows_, strict=True)]
        found[way] = numbers, spent * 1e3 / sum(len(p) + len(o) for p, o in pairs)
    return found


def compare(path: Path) -> Iterator[str]:
    """A line for each kernel, processor and way: numbers unlike those decoded alone by this processor, and the cost."""
    yield f"{'kernel':11}{'processor':12}{'way':18}{'other numbers':>14}{'largest, nats':>15}{'CPU ms a token':>16}"
    for kind in MODELS:
        first: Numbers = []
        for processor, variables in PROCESSORS.items():
            command = [sys.executable, "-m", "p2p.inference.torch.reference", str(path), "--one", kind]
            done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
            for way, (numbers, cost) in json.loads(done.stdout).items():
                numbers = [(int(token), float(number)) for token, number in numbers]
                first = first or numbers
                other = [
                    abs(a - b) if token == mine else float("inf")
                    for (token, a), (mine, b) in zip(numbers, first, strict=False)
                ]
                unlike, most = sum(off > SAME for off in other), max((o for o in other if o < 99), default=0.0)
                yield (
                    f"{kind:11}{processor:12}{way:18}{f'{unlike} of {len(numbers)}':>14}{most:15.6f}{cost:16.1f}"
                )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.inference.torch.reference", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="folder of a model (default: the small one)")
    parser.add_argument("--one", choices=tuple(MODELS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = options.model or prepare_model()
    if options.one:
        print(json.dumps(measure(path, options.one)))
        return 0
    for line in compare(path):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
