"""`python -m p2p.lab.measure.equal --dir DIR`: honest tokens of equal kernels over the clients' whole space.

Law: real vLLM answers, prefilled again by vLLM as a validator does it; the exact rule (decision 065) judges each token.

Runs of the plan are answered and scored one after the other until DIR holds the tokens that are wanted. A stopped run
continues where it was, and `make bench-verify` goes on with what is there: the profile's `lost_ppm` is the bound that
is printed here for the calibration prompts.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from p2p.inference.stack.model import prepare_model
from p2p.lab.measure import honesty
from p2p.lab.measure.bench import CONTEXTS
from p2p.lab.measure.clock import Clock
from p2p.lab.measure.collect import Collector
from p2p.lab.measure.evaluate import Evaluation
from p2p.lab.measure.plan import HONEST, MORE, VLLM, Run
from p2p.lab.measure.redraw import Redrawn
from p2p.lab.measure.report import table
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped
from p2p.verification.profile import shipped as shipped_profile
from p2p.verification.statistics import EXCESS, LEAD, beyond_rounding

TOKENS = 100_000
MOST_SHOWN = 50  # tokens that lost
RUNS = tuple(run for run in (*HONEST, *MORE) if run.stack == VLLM and run.drawn and not run.redrawn)


def evaluation_of(measured: Measured) -> Evaluation:
    """What lies there, as far as the kernels of the shipped profile are exact. Nothing is fitted."""
    calibration, heldout = shipped.split(shipped.load())
    found = Evaluation(
        Redrawn(measured, Measured(measured.directory / CONTEXTS)), frozenset(p.id for p in calibration),
        frozenset(p.id for p in heldout),
    )
    profile = shipped_profile(prepare_model().name)
    found.evidence.exact_context = profile.exact_context if profile else None
    return found


def tokens(evaluation: Evaluation) -> int:
    """Tokens with drawn parameters that the exact rule looks at."""
    return evaluation.losses(VLLM, VLLM, lambda run, prompt, asked: run.drawn).tokens


def needed(evaluation: Evaluation, wanted: int) -> tuple[Run, ...]:
    """The runs that are still to be made, so that there are so many tokens; none: it is done, or the plan has no more.
    A run that was not made is believed to use up nearly all that its prompts allow."""
    prompts, found, have = shipped.load(), list[Run](), tokens(evaluation)
    for run in RUNS:
        if have < wanted and not evaluation.evidence.measured.has_rows(run.name, VLLM):
            found.append(run)
            have += sum(p.max_tokens for p in prompts[:: run.share]) * 9 // 10
    return tuple(found)


def lost(evaluation: Evaluation) -> Iterator[str]:
    """One line for each token that lost by more than rounding."""
    for run in RUNS:
        if not evaluation.evidence.is_generated(run.name) or not evaluation.evidence.has(run.name, VLLM):
            continue
        ids, facts = evaluation.evidence.facts(run.name, VLLM)
        asked, broken = evaluation.evidence.asked(run.name), beyond_rounding(facts.values)
        for prompt, start, length in zip(ids, facts.starts(), facts.lengths, strict=True):
            for at in range(start, start + length):
                if broken[at]:
                    one = facts.values[at]
                    yield (
                        f"{run.name} {prompt}, token {at - start} of {length}: lead {one[LEAD]:.4f}, excess "
                        f"{one[EXCESS]:.4f}; {asked[prompt]}"
                    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure.equal", description=__doc__)
    parser.add_argument(
        "--dir", type=Path, default=Path(".bench/verify"), help="what was measured (default: %(default)s)",
    )
    parser.add_argument(
        "--tokens", type=int, default=TOKENS, help="honest tokens that are wanted (default: %(default)s)",
    )
    parser.add_argument("--space", type=int, help="seed of the clients' parameters (default: DIR's, else a new one)")
    parser.add_argument("--skip-collect", action="store_true", help="judge what is there")
    options = parser.parse_args()
    started, measured = time.monotonic(), Measured(options.dir)

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {text}", flush=True)

    if not options.skip_collect:
        seed = options.space if options.space is not None else secrets.randbelow(2**31)
        space = measured.noted("space").get("seed", seed) if options.space is None else seed
        say(f"parameters of the clients' space: seed {space}")
        while missing := needed(evaluation_of(measured), options.tokens):
            clock = Clock(say)
            collector = Collector(
                measured, prepare_model(), shipped.load(), say, missing, (VLLM,), space, extras=False,
                count=clock.count,
            )
            clock.left = collector.work()
            trio.run(collector.all)
    evaluation = evaluation_of(measured)
    if rows := honesty.exact_table(evaluation):
        print("\n".join(table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])))
    broken = list(lost(evaluation))
    print("\n".join(broken[:MOST_SHOWN]) or "no token lost by more than rounding")
    short = options.tokens - tokens(evaluation)
    if short > 0:
        print(f"{short} tokens fewer than wanted: the plan has no more runs")
    return int(bool(broken) or short > 0)


if __name__ == "__main__":
    sys.exit(main())
