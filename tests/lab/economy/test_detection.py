"""The simulator's checks find cheats as often as the verification table says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from p2p.base.genesis import CheckRules
from p2p.lab.economy.detection import ACROSS, CASES, FILE, HONEST, SAME, SMART, rows
from p2p.lab.economy.extract import PROFILE, extract
from p2p.verification.profile import shipped
from p2p.verification.sequential import Evidence

RESULTS = Path(__file__).parents[3] / "docs" / "verification" / "results.json"
SEED = 7


def test_the_shipped_file_is_what_extract_makes_of_the_table() -> None:
    profile = shipped(PROFILE)
    assert profile is not None
    made = extract(RESULTS.read_bytes(), profile)
    assert json.loads(FILE.read_text()) == made, "run p2p.lab.economy.extract on docs/verification/results.json"


def test_rates_are_the_tables_own() -> None:
    """Compared with the published rows, read here independently."""
    curves = {
        (c["case"], c["validator"]): c["rates"]
        for c in json.loads(RESULTS.read_text())["curves"] if c["executor"] == "vllm-cpu-bf16"
    }
    for (kind, pair), row in rows().items():
        if kind == SMART:
            assert row is rows()[HONEST if pair == ACROSS else "laundered_int8", pair], "of no row of its own"
            continue
        wanted = curves[CASES[kind], "vllm-cpu-bf16" if pair == SAME else "torch-cpu-bf16"]
        for tokens, rate in zip(row.lengths, wanted, strict=True):
            assert row.rate(tokens) == pytest.approx(rate, abs=1e-4), (kind, pair, tokens)


@pytest.mark.parametrize(("kind", "pair", "tokens"), [
    ("laundered_int8", SAME, 64), ("laundered_int8", ACROSS, 1000), ("int8", ACROSS, 32), ("smaller_model", ACROSS, 64),
    (HONEST, SAME, 200),
])
def test_ratios_pass_the_threshold_as_often_as_the_table_says(kind: str, pair: str, tokens: int) -> None:
    row, rng = rows()[kind, pair], np.random.default_rng(SEED)
    limit = row.limit_milli(tokens)
    above = np.mean([row.llr_milli(tokens, row.rate(tokens), rng) > limit for _ in range(4000)])
    assert abs(above - row.rate(tokens)) < 0.03, f"seed {SEED}"


@pytest.mark.parametrize(("kind", "share", "published"), [
    ("int8", 1.0, 3), ("laundered_int8", 1.0, 4), ("laundered_int4", 1.0, 3), ("laundered_int4", 0.1, 54),
    ("laundered_smaller_model", 0.1, 54),
])
def test_conviction_comes_when_the_published_epochs_say(kind: str, share: float, published: int) -> None:
    """The table's last part played real answers through the ledger's e-process (about 50 tokens each); ours are
    drawn."""
    rng, rules, found = np.random.default_rng(SEED), CheckRules(), []
    cheat, honest = rows()[kind, SAME], rows()[HONEST, SAME]
    for _ in range(40):
        evidence, count = Evidence(), 0
        while evidence.log_milli() < rules.conviction_milli:
            count += 1
            row, rate = (cheat, cheat.rate(50)) if rng.random() < share else (honest, 0.0)
            evidence = evidence.updated(row.llr_milli(50, rate, rng), rules.llr_cap_milli, by_lot=False, late=False)
        found.append(count)
    assert published / 1.6 - 1 <= np.median(found) <= published * 1.6, f"seed {SEED}: {sorted(found)}"
