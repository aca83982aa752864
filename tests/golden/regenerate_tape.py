"""`python -m tests.golden.regenerate_tape` rewrites the tape's vectors: only when the tape is meant to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import asdict

from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.sampling import Bools, Sampling

FILE = Path(__file__).parent / "tape.json"
SEEDS = (bytes(32), bytes(range(32)), b"\xff" * 32, tape.tape_seed(b"\x01" * 32, b"\x02" * 32, 3))
POSITIONS = (0, 1, 5, 4095, 2**32 - 1)
TOKENS = (0, 1, 2, 3, 4, 999, 49151, 151935, 2**20)
# sixteen tokens; 3 and 7 tie, 11 and 12 tie
LOGPROBS = (-1.2, -3.4, -2.2, -1.7, -4.0, -5.5, -2.9, -1.7, -3.1, -6.0, -2.5, -3.8, -3.8, -7.25, -4.4, -9.0)
COUNTS = (2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 5)
ALL = Params(850, 8, 20, 920, 600, 250)
BIAS = ((1, 2_500), (5, 100_000), (8, -100_000), (10, 1_750))  # (token, thousandths of a nat)
SMALL_BIAS = ((1, 2_500), (8, -300), (10, 1_750))
ALLOWED = (1, 2, 6, 7, 10, 13)  # tokens that a grammar leaves
REPEATED = Params(850, 8, 20, 920, 600, 250, 1_300)
# name, parameters, whether tokens are in the output already; then biases and what is allowed, where a case has them
CASES: tuple[tuple[Any, ...], ...] = (
    ("plain", Params(700), False), ("hot", Params(2000), False), ("cold", Params(50), False),
    ("top-k", Params(1000, 5), False),
    ("top-k cuts a tie: both stay", Params(1500, 2), False), ("top-p within top-k", Params(1000, 8, 0, 700), False),
    ("top-p 0 keeps the best", Params(1000, 8, 0, 0), False),
    ("min-p after the temperature", Params(500, 0, 200), False),
    ("min-p 1 keeps the best", Params(900, 0, 1000), False), ("presence", Params(800, 0, 0, 1000, 1500, 0), True),
    ("frequency", Params(800, 0, 0, 1000, 0, 700), True),
    ("negative penalties", Params(800, 6, 0, 1000, -2000, -400), True),
    ("all", ALL, True), ("greedy", Params(0), False), ("greedy penalised", Params(0, 0, 0, 1000, 600, 0), True),
    ("greedy tie: lowest id", Params(0, 0, 0, 1000, 2000, 2000), True),
    ("repetition", Params(800, repetition_milli=1_500), True),
    ("repetition lifts", Params(0, repetition_milli=300), True),
    ("repetition before presence", Params(0, 0, 0, 1000, 600, 250, 1_300), True), ("bias", Params(900), False, BIAS),
    ("bias and masks", Params(900, 4, 0, 800), False, SMALL_BIAS), ("greedy bias", Params(0), False, SMALL_BIAS),
    ("allowed", Params(1000), False, (), ALLOWED), ("allowed before top-k", Params(1000, 3), False, (), ALLOWED),
    ("allowed before top-p", Params(1000, 5, 0, 700), False, (), ALLOWED),
    ("greedy allowed", Params(0), False, (), ALLOWED),
    ("one allowed", Params(1000, 4, 100, 500), False, (), (9,)), ("everything", REPEATED, True, SMALL_BIAS, ALLOWED),
)


def vectors() -> list[dict[str, Any]]:
    return [
        {
            "seed": seed.hex(), "position": position, "tokens": list(TOKENS),
            "words": [f"{int(word):08x}" for word in tape.words_at(seed, position, TOKENS)],
            "gumbel": [float(f"{value:.15g}") for value in tape.gumbel_at(seed, position, TOKENS)],
        }
        for seed in SEEDS for position in POSITIONS
    ]


def scores_of(case: dict[str, Any]) -> tape.Floats:
    """The scores of one case over its whole row, by the one mechanism that engines and validators use."""
    size, params = len(case["logprobs"]), Params(**case["params"])
    output = [token for token, times in enumerate(case["counts"] or ()) for _ in range(times)]
    begin = None if case["allowed"] is None else lambda: Only(size, case["allowed"])
    state = Sampling(params, bias={token: milli / 1000 for token, milli in case["bias"]}, grammar=begin).begin(output)
    noise = tape.gumbel_row(bytes.fromhex(case["seed"]), case["position"], size)
    return state.scores(np.array(case["logprobs"]), np.arange(size), noise)


class Only:
    """A grammar that allows the same tokens at every position, and has let everything pass that came before."""

    def __init__(self, size: int, allowed: list[int]) -> None:
        self._allowed = np.isin(np.arange(size), allowed)

    def allowed(self) -> Bools:
        return self._allowed

    def accept(self, token: int) -> bool:
        del token
        return True


def cases() -> list[dict[str, Any]]:
    found = []
    whole = [(*case, *((), None)[len(case) - 3 :]) for case in CASES]
    for number, (name, params, penalised, bias, allowed) in enumerate(whole):
        for position in (number, number + 1000):
            numbers = {field: value for field, value in asdict(params).items() if field != "seed"}
            case = {
                "name": name, "seed": SEEDS[1].hex(), "position": position, "logprobs": list(LOGPROBS),
                "counts": list(COUNTS) if penalised else None, "bias": [list(pair) for pair in bias],
                "allowed": None if allowed is None else list(allowed), "params": numbers,
            }
            scored = scores_of(case)
            found.append(case | {
                "kept": [int(token) for token in np.flatnonzero(np.isfinite(scored))], "chosen": int(np.argmax(scored)),
            })
    return found


def main() -> None:
    seed = {"beacon": "01" * 32, "inference_id": "02" * 32, "client_nonce": 3, "seed": SEEDS[3].hex()}
    parts = {"seeds": [seed], "vectors": vectors(), "cases": cases()}
    lines = (
        f' "{name}": [\n' + ",\n".join(f"  {json.dumps(item)}" for item in items) + "\n ]"
        for name, items in parts.items()
    )
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
