"""The toy model of tests/fake_vllm.py with honest noise of its own, and a calibration of it. FAKE: for fast tests of
the checks' logic."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from p2p.base.genesis import ModelSpec
from p2p.base.keys import Key, digest
from p2p.base.limits import TOP_RANKS
from p2p.base.types import VERSION, FinishReason, FinishRecord, InferenceId, Params, Request, StackClass
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification import artifact as artifacts
from p2p.verification import tape
from p2p.verification.calibration import Facts, fit
from p2p.verification.engine import TokenStep
from p2p.verification.profile import Noise, Profile
from p2p.verification.statistics import answer_facts
from p2p.verification.text import parse_vocabulary, text_hash
from tests.fake_vllm import EOS, VOCAB, Toy, tokenizer_json

SEED, IID = b"\x07" * 32, InferenceId(b"\x09" * 32)
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048, vocabulary=VOCAB)
WORDS = parse_vocabulary(tokenizer_json().encode())
PROMPT = (1, 50, 60)
NOISE = 0.03  # nats, of each logit


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
        return row - np.log(np.exp(row).sum())


def request(tokens: int, params: Params) -> Request:
    return Request(VERSION, "n", bytes(32), 1, "toy", b"\x03" * 32, params, 64, tokens, 100, 50, bytes(32), 40)


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


def claim(
    count: int = 40, params: Params | None = None, salt: int = 1, steps: list[TokenStep] | None = None,
    reason: FinishReason | None = None
) -> tuple[artifacts.Artifact, Request, FinishRecord]:
    params = params or Params(700)
    req = request(count, params)
    steps = steps if steps is not None else generate(Toy(salt), count, params)
    if reason is None:
        reason = FinishReason.STOP if steps and steps[-1].token == EOS else FinishReason.LENGTH
    header = artifacts.header_for(req, IID, SPEC, SEED, PROMPT, reason)
    made = artifacts.build(header, steps)
    text = text_hash(WORDS.text(made.tokens))
    record = FinishRecord(
        IID, Key(bytes(32)).public, made.root(), made.output_hash(), len(PROMPT), len(steps), reason, text_hash=text
    )
    return made, req, record


def forged(token: int, logprob: float = -0.05) -> TokenStep:
    """A token with invented numbers that stage 0 cannot refuse: the others are as unlikely as that leaves them."""
    left = math.log1p(-math.exp(logprob)) - math.log(TOP_RANKS)
    return TokenStep(token, "", logprob, ((token, logprob), *(
        (other, left) for other in range(token + 1, token + TOP_RANKS)
    )))


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
        found.append(answer_facts(made.positions(), own, params, digest(b"other", seed) if wrong_seed else seed))
    return Facts(np.concatenate(found), tuple(map(len, found)))


PARAMS = Params(1000)


@cache
def calibrated() -> Noise:
    """Fitted once per test process; about two seconds."""
    honest = facts(Noisy(run=1), 60, 40, PARAMS)
    others = {
        "coarse": facts(Noisy(grid=1.6, run=2), 40, 40, PARAMS),
        "laundered_coarse": facts(Noisy(grid=1.6, run=3), 40, 40, PARAMS, laundered=True),
        "wrong_seed": facts(Noisy(run=4), 40, 40, PARAMS, wrong_seed=True),
    }
    return fit(
        {"honest": honest}, others, frozenset({"laundered_coarse", "wrong_seed"}), cap_milli=6000, seed=1, times=20_000
    )


@cache
def tokenizer_file() -> Path:
    """The toy's tokenizer.json."""
    path = Path(tempfile.mkdtemp(prefix="folkmoot-toy-")) / "tokenizer.json"
    path.write_text(tokenizer_json())
    return path


def files() -> dict[str, str]:
    """Settings of a peer whose ML node is the toy."""
    return {"profile": str(profile_file()), "tokenizer": str(tokenizer_file())}


@cache
def profile_file() -> Path:
    """The toy's calibration under the name that test networks give their model."""
    pair = f"{StackClass.CPU_BF16}>{StackClass.CPU_BF16}"
    path = Path(tempfile.mkdtemp(prefix="folkmoot-toy-")) / "toy.json"
    path.write_text(Profile(DEFAULT_MODEL, "00", {"by": "tests: a toy"}, 500, {pair: calibrated()}).to_json())
    return path
