"""The simulated model's calibration and files. SIMULATED: for test networks and fast tests of the checks' logic.

Law: it is fitted as a real model's is, to answers of the model in simulated_engine.py with numerical noise of its own.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np

from p2p.base.files import write_file
from p2p.base.genesis import ModelSpec
from p2p.base.keys import NetworkId, digest
from p2p.base.types import VERSION, FinishReason, InferenceId, Params, Request, StackClass
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification import artifact as artifacts
from p2p.verification import tape
from p2p.verification.calibration import Facts, fit, pool
from p2p.verification.engine import TokenStep
from p2p.verification.profile import Noise, Profile, load
from p2p.verification.statistics import answer_facts
from testnet.simulated_engine import EOS, TEMPLATE, VOCAB, Toy, tokenizer_json

SEED, IID = b"\x07" * 32, InferenceId(b"\x09" * 32)
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048, vocabulary=VOCAB)
PROMPT = (1, 50, 60)
NOISE = 0.03  # nats, of each logit
EDGE_MILLI = 240  # thousandths of a nat: four standard deviations of the difference of two, on two stacks
PARAMS = Params(1000)
MASKED = (Params(1000, 20), Params(1500, 0, 200), Params(700, 40, 0, 900), Params(1000, 8, 50, 800, 500, -300))
PROFILE = Path(__file__).parent / "simulated_profile.json"
PAIR = f"{StackClass.CPU_BF16}>{StackClass.CPU_BF16}"


class Noisy(Toy):
    """The toy with numerical noise, and optionally with its logits rounded to a grid: a cheaper model."""

    def __init__(self, salt: int = 1, grid: float = 0.0, run: int = 0) -> None:
        super().__init__(salt)
        self.grid, self.rng = grid, np.random.default_rng(run)

    def logprobs(self, context: list[int]) -> np.ndarray:
        row = super().logprobs(context)
        if self.grid:
            row = np.round(row / self.grid) * self.grid
        row = row + self.rng.normal(0.0, NOISE, VOCAB)
        found: np.ndarray = row - np.log(np.exp(row).sum())
        return found


def request(tokens: int, params: Params) -> Request:
    return Request(
        VERSION, NetworkId("n"), bytes(32), 1, "toy", b"\x03" * 32, params, 64, tokens, 100, 50, bytes(32), 40
    )


def generate(
    toy: Toy, count: int, params: Params, seed: bytes = SEED, prompt: tuple[int, ...] = PROMPT
) -> list[TokenStep]:
    context, steps = list(prompt), []
    for position in range(count):
        row = toy.logprobs(context)
        counts = tape.output_counts(context[len(prompt) :], np.arange(VOCAB))
        token = int(np.argmax(tape.scores(row, params, tape.gumbel_row(seed, position, VOCAB), counts)))
        best = np.argsort(-row)[:8]
        steps.append(TokenStep(token, "", float(row[token]), tuple((int(t), float(row[t])) for t in best)))
        context.append(token)
        if token == EOS:
            break
    return steps


def rows(toy: Toy, tokens: tuple[int, ...], prompt: tuple[int, ...] = PROMPT) -> list[dict[int, float]]:
    context, found = list(prompt), []
    for token in tokens:
        row = toy.logprobs(context)
        found.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:64], token]})
        context.append(token)
    return found


def launder(steps: list[TokenStep], right: list[dict[int, float]]) -> list[TokenStep]:
    return [
        TokenStep(s.token, "", r[s.token], tuple(sorted(r.items(), key=lambda i: -i[1])[:8])) for s,
        r in zip(steps, right, strict=True)
    ]


def facts(
    toy: Toy, answers: int, count: int, params: Params, *, laundered: bool = False, wrong_seed: bool = False,
    first: int = 0
) -> Facts:
    """Facts of some answers as an honest validator sees them."""
    found = []
    for number in range(first, first + answers):
        seed, prompt = digest(b"toy", number.to_bytes(4, "big")), (1, 50 + number % 400)
        steps = generate(toy, count, params, seed, prompt)
        own = rows(Noisy(run=number + 10_000), tuple(s.token for s in steps), prompt)
        if laundered:
            steps = launder(steps, rows(Noisy(run=number + 20_000), tuple(s.token for s in steps), prompt))
        made = artifacts.build(
            artifacts.header_for(request(count, params), IID, SPEC, seed, prompt, FinishReason.LENGTH), steps
        )
        tape_seed = digest(b"other", seed) if wrong_seed else seed
        found.append(answer_facts(made.positions(), own, params, tape_seed, edge=EDGE_MILLI / 1000))
    return Facts(np.concatenate(found), tuple(map(len, found)))


def fitted() -> Noise:
    """The calibration, computed: some twenty seconds."""
    honest = facts(Noisy(run=1), 60, 40, PARAMS)
    masked = pool([
        facts(Noisy(run=5 + at), 20, 40, params, first=300 * at) for at, params in enumerate(MASKED)
    ])
    others = {
        "coarse": facts(Noisy(grid=1.6, run=2), 40, 40, PARAMS),
        "laundered_coarse": facts(Noisy(grid=1.6, run=3), 40, 40, PARAMS, laundered=True),
        "wrong_seed": facts(Noisy(run=4), 40, 40, PARAMS, wrong_seed=True),
    }
    return fit(
        {"honest": honest, "masked": masked}, others, frozenset({"laundered_coarse", "wrong_seed"}), cap_milli=6000,
        seed=1, times=20_000, edge_milli=EDGE_MILLI, lost_ppm=100,
    )


@cache
def calibrated() -> Noise:
    """The calibration that is kept in PROFILE."""
    return load(PROFILE).pairs[PAIR]


def write_files(directory: Path) -> dict[str, str]:
    """Write the model's text files and calibration. Returns the settings of a peer whose ML node it is."""
    folder, profile = directory / "toy", directory / "profile.json"
    folder.mkdir(exist_ok=True)
    write_file(profile, PROFILE.read_bytes(), field="dir")
    write_file(folder / "tokenizer.json", tokenizer_json().encode(), field="dir")
    write_file(folder / "chat_template.jinja", TEMPLATE.encode(), field="dir")
    return {"profile": str(profile), "tokenizer": str(folder)}


def main() -> int:
    """Write PROFILE anew."""
    made = {"by": "python -m testnet.simulated_calibration"}
    PROFILE.write_text(Profile(DEFAULT_MODEL, "00", made, 500, {PAIR: fitted()}).to_json())
    print(f"written: {PROFILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
