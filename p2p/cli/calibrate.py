"""calibrate: measures a model's honest noise on this machine's stacks, makes cheats of its own, writes a profile.

Law: thin; lab/measure does the work.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.arguments import whole
from p2p.cli.output import show
from p2p.cli.terminal.progress import Progress

LEAST_PROMPTS = 8


def register(commands: Any) -> None:
    calibrate = commands.add_parser("calibrate")
    calibrate.add_argument(
        "model", type=Path, metavar="MODEL", help="the model's folder, with safetensors and tokenizer",
    )
    calibrate.add_argument(
        "--stack", choices=("both", "vllm", "torch"), default="both",
        help="the engines that answer (default: %(default)s); torch reads the answers too, so that other kernels and "
        "long contexts have limits",
    )
    calibrate.add_argument(
        "--prompts", type=whole(0, 1_000_000), default=0, metavar="N",
        help="take the first N of the shipped prompts, 8 or more; fewer is rougher (default: all)",
    )
    calibrate.add_argument(
        "--work", type=Path, default=Path(".bench/calibrate"), metavar="DIR",
        help="what was measured: a stopped run continues from there (default: %(default)s)",
    )
    calibrate.add_argument(
        "--out", type=Path, metavar="FILE", help="the profile's file (default: the model's name in --work)",
    )
    calibrate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not (options.model / "config.json").exists():
        raise ConfigError(
            f"{options.model} holds no model: config.json is missing; give the folder of a model", field="model",
        )
    if options.prompts and options.prompts < LEAST_PROMPTS:
        raise ConfigError(
            f"give {LEAST_PROMPTS} or more, since half of them are held out; 0 takes all", field="prompts",
        )
    from p2p.cli.tasks import run_async
    from p2p.inference.stack.model import weights_hash
    from p2p.lab.measure import profiles
    from p2p.lab.measure.bench import prepare
    from p2p.lab.measure.collect import Collector
    from p2p.lab.measure.plan import TORCH, VLLM, calibration
    from p2p.lab.measure.store import Measured
    from p2p.verification import prompts as shipped

    started, done = time.monotonic(), 0
    progress = Progress("calibrating", unit="answers made or scored", quiet=options.json)

    def say(text: str) -> None:
        progress.clear()
        if not options.json:
            print(f"[{time.monotonic() - started:6.0f} s] {text}", flush=True)

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress.at(done)

    answering = {"both": (VLLM, TORCH), "vllm": (VLLM,), "torch": (TORCH,)}[options.stack]
    # Beyond the context in which vLLM's kernels are exact, and between other kernels, answers are judged by the noise
    # of two stacks that share none: without a second reader a profile would have no limits there.
    reading = answering if TORCH in answering else (*answering, TORCH)
    prompts = shipped.load()[: options.prompts or None]
    measured = Measured(options.work)
    collector = Collector(
        measured, options.model, prompts, say, calibration(answering), reading, extras=False, count=count,
    )
    progress.total = collector.work()
    with progress:
        run_async(collector.all)
    say("fitting")
    evaluation = prepare(measured, prompts, seed=1)
    weights = weights_hash(options.model).hex()
    profile = profiles.make(evaluation, model=options.model.name, weights_hash=weights, prompts=len(prompts))
    out = options.out or options.work / f"{options.model.name}.json"
    out.write_text(profile.to_json())
    pairs = [
        {
            "name": name, "alternatives": len(noise.tables) + 1, "normaliser_nats": noise.normaliser_milli / 1000,
            "limits_nats": {str(n): limit / 1000 for n, limit in noise.thresholds[1000] if n in (1, 16, 64, 256)},
        }
        for name, noise in profile.pairs.items()
    ]
    found = profile.hash()
    show(options, {"file": str(out), "profile": found, "pairs": pairs}, lambda: _text(out, found, pairs))
    return 0


def _text(out: Path, profile: str, pairs: list[dict[str, Any]]) -> str:
    lines = []
    for pair in pairs:
        limits = ", ".join(f"{n} tokens {limit:.2f}" for n, limit in pair["limits_nats"].items())
        lines.append(
            f"{pair['name']}: {pair['alternatives']} alternatives; limits at 1e-3: {limits} nats; normaliser "
            f"{pair['normaliser_nats']:.2f}"
        )
    advice = f'give it to validators: profile = "{out}" in config.toml'
    return "\n".join([*lines, f"{out}: profile {profile[:16]}; {advice}"])
