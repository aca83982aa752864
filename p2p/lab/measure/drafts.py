"""`python -m p2p.lab.measure.drafts DIR [--out FILE]`: the evasion curve of smart drafts, what they save against how
soon they are convicted.

DIR is a folder of `python -m p2p.lab.measure.kernel_distance`: one honest text, scored with the right weights on two
stacks and with cheaper weights.

Law: the text is fixed and the tape is drawn anew, SEEDS times. At each place the cheap model's token is taken where it
leads the tape by TAU or more, else the right one's, as the attack does (attacks/smart_drafts.py); what a validator's
facts are then follows from the rows alone, so a curve needs no generation of its own. The numbers are those of the
right model on the executor's kernels, touched up where stage 0 would refuse them. The ledger's own e-process convicts.

Three pairs: 'equal', executor and validator have the same kernels; 'across', torch checked by vLLM; 'stranger', equal
kernels under a name that nobody calibrated, with numbers moved a little (JITTER) so that they do not look equal.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from p2p.base.genesis import CheckRules
from p2p.base.keys import digest
from p2p.base.serving_limits import TOP_RANKS
from p2p.inference.stack.model import MODEL_NAME
from p2p.lab.attacks.base import best
from p2p.lab.attacks.invent import winning
from p2p.lab.measure.curve import ACROSS, CHECKED, EQUAL, STRANGER, Point
from p2p.lab.measure.facts import HEADER
from p2p.lab.measure.plan import FREE, TORCH, VLLM
from p2p.lab.measure.store import Measured
from p2p.verification import tape
from p2p.verification.artifact import build
from p2p.verification.check import FALSE_ALARM_PPM, PROOF_LLR_MILLI, PROOF_NATS
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.profile import Noise, Profile, family, load, mixture, ratios, shipped
from p2p.verification.sequential import Evidence
from p2p.verification.statistics import EXACT_NATS, EXCESS, LEAD, Floats, answer_facts

RUN, RIGHT = "honest", {"torch": "torch bf16", "vllm": VLLM}  # names in kernel_distance.py
TAUS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
SEEDS = 2  # tapes drawn for each text
JITTER = 0.06  # nats; the root mean square by which vLLM and torch differ
LENGTHS = (64, 128, 256, 512, 1000)  # tokens of an answer, all equally likely, as in lab/economy
EPOCHS = 20  # that are played
ROUNDED = 50  # thousandths of a nat
# Costs, as shares of an honest token's: a pass over weights of a half to a quarter of the size, bound by memory; one
# honest prefill for the numbers.
DRAFT_COST, PREFILL_COST = {"int8": 0.5, "int6": 0.375, "int4": 0.25}, 0.075


def _chosen(row: Row, noise: Floats) -> tuple[int, float]:
    """(the tape's choice, its lead over the second) by this row."""
    ids, score = list(row), np.fromiter(row.values(), float, len(row)) + noise
    at = int(np.argmax(score))
    lead = score[at] - np.partition(score, -2)[-2]
    return ids[at], float(lead)


def _alike(rows: Sequence[Row]) -> list[Row]:
    """The same position's rows, the validator's last, with the candidates alone that all of them have: a token far down
    that one row lacks would look like one that was passed over. Where fewer than two are left, all are the last."""
    common = set.intersection(*(set(row) for row in rows))
    if len(common) < 2:
        return [rows[-1]] * len(rows)
    return [{token: logprob for token, logprob in row.items() if token in common} for row in rows]


def facts_of(
    right: Sequence[Sequence[Row]], cheap: Sequence[Sequence[Row]] | None, own: Sequence[Sequence[Row]], tau: float,
    jitter: float,
) -> tuple[list[Floats], float, float]:
    """(facts of each text, share of tokens that the right model was asked for, share of tokens that are not its own).

    right: rows of the executor's kernels. cheap: of its drafts; None for an honest host. own: of the validator.
    """
    rng, found, asked, other, count = np.random.default_rng(1), [], 0, 0, 0
    for number in range(SEEDS):
        for text, each in enumerate(zip(right, cheap or right, own, strict=True)):
            seed = digest(b"drafts", number.to_bytes(4, "big"), text.to_bytes(4, "big"))
            whole, job = each[0], Job((0,), len(each[0]), FREE, seed)
            good, poor, seen = zip(*(_alike(rows) for rows in zip(*each, strict=True)), strict=True)
            noises, drafts = (tape.noise_of_rows(seed, 0, [list(row) for row in rows], FREE) for rows in (good, poor))
            steps: list[TokenStep] = []
            for at, (row, noise) in enumerate(zip(good, noises, strict=True)):
                token, _ = _chosen(row, noise)
                if cheap is not None:
                    draft, lead = _chosen(poor[at], drafts[at])
                    keep = lead >= tau
                    asked, other = asked + (not keep), other + (keep and draft != token)
                    token = draft if keep else token
                count += 1
                numbers = whole[at] if token in whole[at] else row
                if jitter:
                    numbers = {t: min(p + jitter * float(rng.normal()), 0.0) for t, p in best(numbers, 2 * TOP_RANKS)}
                    numbers.setdefault(token, row[token])
                step = TokenStep(token, "", numbers[token], best(numbers, TOP_RANKS))
                steps.append(winning(step, job, at, step.logprob, step.top) if cheap or jitter else step)
            positions = build(replace(HEADER, params=FREE, seed=seed), steps).positions()
            found.append(np.asarray(answer_facts(positions, seen, FREE, seed)))
    return found, asked / max(count, 1), other / max(count, 1)


def play(facts: Sequence[Floats], noise: Noise, *, equal: bool, rng: np.random.Generator) -> tuple[float, float, int]:
    """(share of answers flagged, share of epochs convicted, median answers) of a host whose answers have such facts.

    An answer is made of whole texts, drawn with replacement, until it is as long as wanted. Ratios are rounded to
    ROUNDED, so that the e-process finds most of its steps in its cache.
    """
    rules, flagged, looked, times = CheckRules(), 0, 0, []
    sums = np.stack([noise.likelihoods(one).sum(axis=0) for one in facts])
    tokens = np.array([len(one) for one in facts])
    deepest = np.array([max(one[:, EXCESS].max(), -one[:, LEAD].min()) for one in facts])  # loss of a token
    least = EXACT_NATS if noise.lost_ppm else PROOF_NATS  # as check.exact_rule has it
    for _ in range(EPOCHS):
        evidence = Evidence()
        for at in range(1, CHECKED + 1):
            wanted, picked = int(rng.choice(LENGTHS)), [int(rng.integers(len(facts)))]
            while tokens[picked].sum() < wanted:
                picked.append(int(rng.integers(len(facts))))
            length = int(tokens[picked].sum())
            total = float(mixture(ratios(sums[picked].sum(axis=0), length)))
            loss = float(deepest[picked].max())
            proof = equal and loss > least
            refused = proof or total > noise.threshold_milli(length, FALSE_ALARM_PPM)
            ratio = total - noise.normaliser_milli
            if proof:
                chance = min(noise.lost_ppm * length / 1e6, 1.0)
                ratio = max(ratio, PROOF_LLR_MILLI if loss > PROOF_NATS else -1000 * math.log(chance))
            flagged, looked = flagged + refused, looked + 1
            step = round(ratio / ROUNDED) * ROUNDED
            evidence = evidence.updated(step, rules.llr_cap_milli, by_lot=False, late=False)
            if evidence.reached(rules.conviction_milli) is not None:
                times.append(at)
                break
    median = int(np.median(times + [CHECKED + 1] * (EPOCHS - len(times))))
    return flagged / looked, len(times) / EPOCHS, 0 if median > CHECKED else median


def pairs_of(profile: Profile) -> dict[str, Noise]:
    """The tables that each pair is judged by."""
    exact = next(name for name in profile.pairs if "#" in name and family(name.partition(">")[0]) == VLLM)
    across, strangers = profile.noise(TORCH, VLLM), profile.noise(VLLM, TORCH)
    return {EQUAL: profile.pairs[exact], ACROSS: across, STRANGER: strangers}


def curve(measured: Measured, profile: Profile, drafts: Sequence[str], taus: Sequence[float]) -> list[Point]:
    """All points: an honest host of each pair first."""
    rows = {name: measured.rows(RUN, full) for name, full in RIGHT.items()}
    cheap = {name: measured.rows(RUN, name) for name in drafts}
    noise, found = pairs_of(profile), []
    kinds = [("", 0.0), *((draft, tau) for draft in drafts for tau in taus)]
    for pair in (EQUAL, ACROSS, STRANGER):
        own, jitter = rows["vllm" if pair == ACROSS else "torch"], JITTER if pair == STRANGER else 0.0
        for draft, tau in kinds:
            facts, asked, other = facts_of(rows["torch"], cheap.get(draft), own, tau, jitter)
            rng = np.random.default_rng(7)
            flagged, convicted, median = play(facts, noise[pair], equal=pair == EQUAL, rng=rng)
            cost = DRAFT_COST[draft] + asked + PREFILL_COST if draft else 1.0
            found.append(Point(
                pair, draft, tau, round(cost, 3), round(other, 5), round(flagged, 4), round(convicted, 3), median
            ))
            print(line(found[-1]), flush=True)
    return found


def line(point: Point) -> str:
    kind = f"{point.draft}, tau {point.tau:g}" if point.draft else "honest"
    return (
        f"{point.pair:<10}{kind:<16}cost {point.cost:5.3f}  other tokens {point.other:8.5f}  flagged "
        f"{point.flagged:6.4f}  convicted {point.convicted:5.3f}  median {point.median or '-'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.drafts", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder of kernel_distance")
    parser.add_argument("--out", type=Path, help="write the points to this JSON file")
    parser.add_argument("--profile", type=Path, help="judge by this profile (default: the shipped one)")
    parser.add_argument("--taus", default=",".join(map(str, TAUS)), help="nats (default: %(default)s)")
    options = parser.parse_args()
    profile = load(options.profile) if options.profile else shipped(MODEL_NAME)
    assert profile is not None, "no profile is shipped"
    measured = Measured(options.dir)
    taus = tuple(float(tau) for tau in options.taus.split(","))
    drafts = [name for name in DRAFT_COST if measured.has_rows(RUN, name)]
    found = curve(measured, profile, drafts, taus)
    if options.out:
        texts = len(measured.answers(RUN))
        about = f"python -m p2p.lab.measure.drafts, {texts} texts, {SEEDS} tapes, profile {profile.hash()[:12]}"
        body = {"from": about, "points": [asdict(point) for point in found]}
        options.out.write_text(json.dumps(body, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
