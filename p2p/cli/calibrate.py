"""calibrate: measure a model's honest noise on this machine's stacks, make its own alternatives, write a profile. Law: thin."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.cli.words import whole


def register(commands: Any) -> None:
    calibrate = commands.add_parser("calibrate", help="measure a model's honest noise and write the profile that validators use")
    calibrate.add_argument("model", type=Path, help="folder with safetensors and tokenizer")
    calibrate.add_argument("--stack", choices=("both", "vllm", "torch"), default="both", help="engines that will execute and validate")
    calibrate.add_argument(
        "--prompts", type=whole(0, 1_000_000), default=0, metavar="N",
        help="only the first N of the shipped prompts (0: all); fewer is rougher",
    )
    calibrate.add_argument("--work", type=Path, default=Path(".bench/calibrate"), help="what was measured; a stopped run goes on from there")
    calibrate.add_argument("--out", type=Path, help="the profile's file (WORK/NAME.json)")
    calibrate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not (options.model / "config.json").exists():
        raise ConfigError(f"{options.model} holds no model (config.json is missing)", field="model")
    if options.prompts and options.prompts < 8:
        raise ConfigError("at least 8 prompts: half of them are held out", field="prompts")
    from p2p.cli.tasks import run_async
    from p2p.inference.stack.model import weights_hash
    from p2p.lab.measure import profiles
    from p2p.lab.measure.bench import prepare
    from p2p.lab.measure.collect import Collector
    from p2p.lab.measure.plan import TORCH, VLLM, calibration
    from p2p.lab.measure.store import Measured
    from p2p.verification import prompts as shipped

    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {text}", flush=True)

    stacks = {"both": (VLLM, TORCH), "vllm": (VLLM,), "torch": (TORCH,)}[options.stack]
    prompts = shipped.load()[: options.prompts or None]
    measured = Measured(options.work)
    run_async(Collector(measured, options.model, prompts, say, calibration(stacks), stacks, extras=False).all)
    say("fitting")
    evaluation = prepare(measured, prompts, seed=1)
    profile = profiles.make(evaluation, model=options.model.name, weights_hash=weights_hash(options.model).hex(), prompts=len(prompts))
    out = options.out or options.work / f"{options.model.name}.json"
    out.write_text(profile.to_json())
    for name, noise in profile.pairs.items():
        limits = ", ".join(f"{n} tokens {limit / 1000:.2f}" for n, limit in noise.thresholds[1000] if n in (1, 16, 64, 256))
        print(f"{name}: {len(noise.tables) + 1} alternatives; limits at 1e-3: {limits} nats; normaliser {noise.normaliser_milli / 1000:.2f}")
    print(f"{out}: profile {profile.hash()[:16]}; give it to validators: profile = \"{out}\" in config.toml")
    return 0
