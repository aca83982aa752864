"""Claims of the simulated model (testnet/simulated_engine.py), right and forged. SIMULATED: for fast tests of the
checks' logic."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path

from p2p.base.keys import Key
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import FinishReason, FinishRecord, Params, Request
from p2p.text.vocabulary import parse_vocabulary, text_hash
from p2p.verification import artifact as artifacts
from p2p.verification.engine import TokenStep
from testnet.simulated_calibration import (
    IID,
    NOISE,
    PARAMS,
    PROMPT,
    SEED,
    SPEC,
    Noisy,
    calibrated,
    facts,
    generate,
    launder,
    request,
    rows,
    write_files,
)
from testnet.simulated_engine import EOS, Toy, tokenizer_json

__all__ = [
    "IID", "NOISE", "PARAMS", "PROMPT", "SEED", "SPEC", "WORDS", "Noisy", "calibrated", "claim", "facts", "files",
    "forged", "generate", "launder", "request", "rows",
]
WORDS = parse_vocabulary(tokenizer_json().encode())


def claim(
    count: int = 40, params: Params | None = None, salt: int = 1, steps: list[TokenStep] | None = None,
    reason: FinishReason | None = None, seed: bytes = SEED,
) -> tuple[artifacts.Artifact, Request, FinishRecord]:
    params = params or Params(700)
    req = request(count, params)
    steps = steps if steps is not None else generate(Toy(salt), count, params)
    if reason is None:
        reason = FinishReason.STOP if steps and steps[-1].token == EOS else FinishReason.LENGTH
    header = artifacts.header_for(req, IID, SPEC, seed, PROMPT, reason)
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


@cache
def files() -> dict[str, str]:
    """Settings of a peer whose ML node is the simulated one."""
    return write_files(Path(tempfile.mkdtemp(prefix="folkmoot-toy-")))
