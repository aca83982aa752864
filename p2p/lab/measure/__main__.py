"""`python -m p2p.lab.measure --dir DIR`: run the attacks that are missing in DIR, fit a profile, judge it, write table
and plots.

`make bench-verify` calls it. DIR keeps what was measured, so a stopped run continues where it was. `--small` takes few
prompts with short answers and few resampled answers on the torch stack alone: it checks the whole way in a minute or
two, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import math
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio
from msgspec import structs

from p2p.inference.stack.model import prepare_model, weights_hash
from p2p.lab.measure import contexts, profiles, report
from p2p.lab.measure.bench import CONTEXTS, evaluate
from p2p.lab.measure.clock import Clock
from p2p.lab.measure.collect import Collector
from p2p.lab.measure.evaluate import BRIEF, FULL, STACKS, TINY
from p2p.lab.measure.plan import RUNS, SMALL, TORCH
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped
from p2p.verification.profile import load
from p2p.verification.prompts import Prompt

SMALL_PROMPTS = 16
SMALL_TOKENS = 40  # of each answer


def small(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """The first SMALL_PROMPTS that are not long, with answers of at most SMALL_TOKENS tokens."""
    brief = [prompt for prompt in prompts if prompt.kind != "long"][:SMALL_PROMPTS]
    return tuple(structs.replace(prompt, max_tokens=min(prompt.max_tokens, SMALL_TOKENS)) for prompt in brief)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure", description=__doc__)
    parser.add_argument(
        "--dir", type=Path, default=Path(".bench/verify"), help="what was measured (default: %(default)s)",
    )
    parser.add_argument("--model", type=Path, help="folder of the model that is measured (default: the small model)")
    parser.add_argument("--out", type=Path, help="where table, plots and profile go (default: DIR/report)")
    parser.add_argument(
        "--small", action="store_true", help="few short answers on the torch stack: a check, not a result",
    )
    parser.add_argument(
        "--keep", type=Path, help="a profile whose pairs are kept where no honest answers of them were measured",
    )
    parser.add_argument(
        "--honest", action="store_true",
        help="run no cheats: theirs is drawn again from contexts (decision 066), in minutes instead of hours",
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="measure no longer than that, then judge what is there",
    )
    parser.add_argument("--brief", action="store_true", help="fewer resampled answers behind each figure")
    parser.add_argument("--skip-collect", action="store_true", help="use only what was measured before")
    parser.add_argument("--skip-judging", action="store_true", help="measure what is missing, then stop")
    parser.add_argument("--seed", type=int, default=20261124, help="seed of the resampling (default: %(default)s)")
    parser.add_argument(
        "--space", type=int, help="seed of the clients' parameters (default: DIR's, else a new one)",
    )
    parser.add_argument(
        "--runs", choices=[run.name for run in RUNS], nargs="+", metavar="RUN",
        help="collect these rows of the plan alone, as honest_long, which finds the context of exact kernels",
    )
    parser.add_argument("--threads", type=int, help="of each torch engine (default: all cores)")
    parser.add_argument(
        "--stacks", choices=STACKS, nargs="+", default=STACKS, help="collect on these alone, so that two can share it",
    )
    return parser.parse_args()


async def _within(collector: Collector, minutes: float, say: Callable[[str], None]) -> None:
    """Collect, for so long at most. What is done of a run is kept."""
    with trio.move_on_after(60 * minutes) as scope:
        await collector.all()
    if scope.cancelled_caught:
        say(f"stopped after {minutes:g} minutes, with {collector.work()} answers not made or scored")


def main() -> int:
    options = arguments()
    started, model = time.monotonic(), options.model or prepare_model()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {text}", flush=True)

    prompts = small(shipped.load()) if options.small else shipped.load()
    if not options.skip_collect:
        every = tuple(
            run for run in RUNS
            if not (options.honest and run.attack) and (options.runs is None or run.name in options.runs)
        )
        runs, stacks = (SMALL, (TORCH,)) if options.small else (every, tuple(options.stacks))
        measured = Measured(options.dir)
        known = measured.noted("space").get("seed", secrets.randbelow(2**31))
        space = known if options.space is None else options.space
        say(f"parameters of the clients' space: seed {space}")
        clock = Clock(say)
        collector = Collector(
            measured, model, prompts, say, runs, stacks, space, extras=not (options.small or options.runs),
            count=clock.count, threads=options.threads,
        )
        clock.left = collector.work()
        trio.run(_within, collector, options.minutes, say)
        if not options.small:
            contexts.collect(Measured(options.dir / CONTEXTS))
    if options.skip_judging:
        return 0
    effort = TINY if options.small else BRIEF if options.brief else FULL
    say("fitting and judging")
    kept = load(options.keep) if options.keep else None
    found, evaluation = evaluate(options.dir, prompts, seed=options.seed, effort=effort, kept=kept)
    out = options.out or options.dir / "report"
    files = report.write(out, found, evaluation)
    profile = profiles.make(evaluation, model=model.name, weights_hash=weights_hash(model).hex(), prompts=len(prompts))
    (out / f"{model.name}.json").write_text(profile.to_json())
    print((out / "results.md").read_text())
    say("wrote " + ", ".join(str(file) for file in [*files, out / f"{model.name}.json"]))
    missed = sum(not row["met"] for row in found["goals"])
    print(f"goals: {len(found['goals']) - missed} met, {missed} missed; profile {profile.hash()[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
