"""`python -m p2p.lab.measure.mask_cheats DIR`: hosts that ignore the mask asked for, answer by answer.

Law: whether an answer broke the mask is told by ranks and probabilities alone, apart from the check that is judged.

DIR is a folder of `python -m p2p.lab.measure`. The answers are honest ones, sampled without a mask, and judged as if
one had been asked for: that is what a host publishes which ignores it. An answer that happens to stay inside cannot be
told from an honest one, so the rate over all answers hangs on the texts. What counts is the rate over those that broke
it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from p2p.base.types import Params
from p2p.inference.stack.model import MODEL_NAME
from p2p.lab.measure.facts import Evidence
from p2p.lab.measure.plan import RELABELLED, VLLM
from p2p.lab.measure.store import Measured
from p2p.verification.check import exact_rule, weigh
from p2p.verification.profile import Noise, Profile, load, shipped

NEAR = 0.001  # nats from the edge of a mask within which an answer is counted on neither side


def table(measured: Measured, profile: Profile) -> Iterator[str]:
    """Lines of Markdown, of equal kernels in contexts for which these are exact."""
    evidence, noise = Evidence(measured), _equal(profile)
    evidence.exact_context = profile.exact_context
    yield "| mask ignored | answers | that broke it | of these refused | that kept it | of these refused |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for case, (run, params) in RELABELLED.items():
        if not case.startswith("ignored_") or not evidence.has(case, VLLM):
            continue
        ids, facts = evidence.facts(case, VLLM)
        rows = dict(zip((a.prompt for a in measured.answers(run)), measured.rows(run, VLLM), strict=True))
        tokens = {a.prompt: [step.token for step in a.steps] for a in measured.answers(run)}
        found: dict[bool, list[bool]] = {True: [], False: []}
        for prompt, start, length in zip(ids, facts.starts(), facts.lengths, strict=True):
            broke = [outside(row, token, params) for row, token in zip(rows[prompt], tokens[prompt], strict=True)]
            if not any(broke) and None in broke:
                continue
            values = facts.values[start : start + length]
            found[any(broke)].append(not exact_rule(weigh(values, noise), values, noise).valid)
        cells = " | ".join(f"{len(found[side])} | {sum(found[side])}" for side in (True, False))
        yield f"| {case.removeprefix('ignored_')} | {sum(map(len, found.values()))} | {cells} |"


def outside(row: Mapping[int, float], token: int, params: Params) -> bool | None:
    """Whether a token is outside the mask by the validator's row (token -> log-probability, the likeliest ones and this
    one); None: too near the edge to say."""
    best = sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))
    own, rank = row[token], [other for other, _ in best].index(token)
    past: list[float] = []  # how far the token is beyond each edge; below 0: inside
    if params.top_k and len(best) > params.top_k:
        edge = best[params.top_k - 1] if rank >= params.top_k else best[params.top_k]
        past.append(edge[1] - own)
    if params.min_p_milli:
        past.append(best[0][1] + math.log(params.min_p_milli / 1000) - own)
    if params.top_p_milli:
        kept = [(other, math.exp(logprob)) for other, logprob in best[: params.top_k or len(best)]]
        mass, least = sum(p for _, p in kept), sum(p for _, p in kept if p > math.exp(own + NEAR))
        most = sum(p for other, p in kept if other != token and p > math.exp(own - NEAR))  # equals may come first
        over, under = least / mass - params.top_p_milli / 1000, most / mass - params.top_p_milli / 1000
        past.append(over if over > 0 else min(under, 0.0))
    deepest = max(past, default=-math.inf)
    return None if abs(deepest) <= NEAR else deepest > 0


def _equal(profile: Profile) -> Noise:
    return next(noise for pair, noise in profile.pairs.items() if "#" in pair)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.mask_cheats", description=__doc__)
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="to judge by (default: the one that ships)")
    options = parser.parse_args(arguments)
    profile = load(options.profile) if options.profile else shipped(MODEL_NAME)
    assert profile is not None  # it ships
    for line in table(Measured(options.dir), profile):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
