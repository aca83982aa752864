"""`python -m tests.golden.regenerate_tape` rewrites the tape's vectors: only when the tape is meant to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import asdict

from p2p.base.types import Params
from p2p.verification import tape

FILE = Path(__file__).parent / "tape.json"
SEEDS = (bytes(32), bytes(range(32)), b"\xff" * 32, tape.tape_seed(b"\x01" * 32, b"\x02" * 32, 3))
POSITIONS = (0, 1, 5, 4095, 2**32 - 1)
TOKENS = (0, 1, 2, 3, 4, 999, 49151, 151935, 2**20)
# sixteen tokens; 3 and 7 tie, 11 and 12 tie
LOGPROBS = (-1.2, -3.4, -2.2, -1.7, -4.0, -5.5, -2.9, -1.7, -3.1, -6.0, -2.5, -3.8, -3.8, -7.25, -4.4, -9.0)
COUNTS = (2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 5)
ALL = Params(850, 8, 20, 920, 600, 250)
CASES = (
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


def cases() -> list[dict[str, Any]]:
    found = []
    for number, (name, params, penalised) in enumerate(CASES):
        for position in (number, number + 1000):
            row, counts = np.array(LOGPROBS), np.array(COUNTS, dtype=np.float64) if penalised else None
            scored = tape.scores(row, params, tape.gumbel_row(SEEDS[1], position, len(LOGPROBS)), counts)
            found.append({
                "name": name, "seed": SEEDS[1].hex(), "position": position, "logprobs": list(LOGPROBS),
                "counts": list(COUNTS) if penalised else None, "params": asdict(params),
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
