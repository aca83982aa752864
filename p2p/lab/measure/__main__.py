"""`python -m p2p.lab.measure --dir DIR [--small]`: run every attack that is missing, fit, judge, write table and plots.
`make bench-verify`.

DIR keeps what was measured: a run that was stopped goes on where it was. --small: few prompts, the torch stack, no
vLLM.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import trio

from p2p.inference.stack.model import prepare_model, weights_hash
from p2p.lab.measure import profiles, report
from p2p.lab.measure.bench import evaluate
from p2p.lab.measure.collect import Collector
from p2p.lab.measure.evaluate import TIMES
from p2p.lab.measure.plan import RUNS, SMALL
from p2p.lab.measure.store import Measured
from p2p.verification import prompts as shipped

SMALL_PROMPTS, SMALL_TIMES = 16, 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.measure", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".bench/verify"))
    parser.add_argument("--out", type=Path, help="where table, plots and profile go (DIR/report)")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--skip-collect", action="store_true", help="only what was measured before")
    parser.add_argument("--skip-judging", action="store_true", help="measure what is missing and stop")
    parser.add_argument("--seed", type=int, default=20261124, help="of the resampling")
    options = parser.parse_args()
    started, model = time.monotonic(), prepare_model()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {text}", flush=True)

    prompts = shipped.load()[:SMALL_PROMPTS] if options.small else shipped.load()
    if not options.skip_collect:
        runs = SMALL if options.small else RUNS
        trio.run(Collector(Measured(options.dir), model, prompts, say, runs, extras=not options.small).all)
    if options.skip_judging:
        return 0
    say("fitting and judging")
    found, evaluation = evaluate(options.dir, prompts, seed=options.seed, times=SMALL_TIMES if options.small else TIMES)
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
