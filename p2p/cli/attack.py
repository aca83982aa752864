"""attack: lists the cheats that test networks and the benchmark use, or runs one here.

Law: it runs the real thing and says what the checks say of it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.default_model import DEFAULT_MODEL
from p2p.base.errors import ConfigError, InvalidRequest
from p2p.cli.arguments import thousandths, whole
from p2p.cli.output import aligned, show

if TYPE_CHECKING:
    from p2p.lab.attacks.base import Attack
    from p2p.lab.attacks.trial import Trial

MAX_TOKENS = 1024
CONTEXT = 2048  # tokens that the model's claim allows


def register(commands: Any) -> None:
    command = commands.add_parser("attack")
    command.add_argument("name", nargs="?", metavar="NAME", help="the attack to run (default: list all)")
    command.add_argument(
        "--list", action="store_true", help="list each attack: what it does, which check is meant to catch it",
    )
    command.add_argument(
        "--prompt", default="Write a short story about a lighthouse.", help="the question (default: %(default)s)",
    )
    command.add_argument(
        "--engine", default="torch", metavar="torch|vllm|URL",
        help="what runs the model; URL: a running honest ML node (default: %(default)s)",
    )
    command.add_argument(
        "--model", type=Path, metavar="PATH", help="the honest model's folder (default: the small shipped model)",
    )
    command.add_argument(
        "--tokens", type=whole(1, MAX_TOKENS), default=64, metavar="N",
        help="tokens of the answer at most (default: %(default)s)",
    )
    command.add_argument(
        "--temperature", type=thousandths(0, 2), default=1000, metavar="X",
        help="of the sampling, from 0 to 2, three decimal places (default: 1)",
    )
    command.add_argument(
        "--top-k", type=whole(0, 1 << 20), default=0, metavar="N",
        help="sample from the N likeliest tokens; 0: from all (default: %(default)s)",
    )
    command.add_argument(
        "--top-p", type=thousandths(0, 1), default=1000, metavar="X",
        help="sample from the likeliest tokens of this mass, from 0 to 1 (default: 1)",
    )
    command.add_argument(
        "--profile", type=Path, metavar="FILE", help="a calibration (default: the one shipped for the model)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.lab import attacks

    if options.list or options.name is None:
        rows = [
            {"name": a.name, "does": a.summary, "caught_by": a.caught_by, "needs": a.needs, "weights": a.weights or ""}
            for a in attacks.load().values()
        ]
        show(options, rows, lambda: "\n".join(map(_line, rows)))
        return 0
    attack = attacks.get(options.name)
    if attack.executor or attack.validator:
        what = "it lies to other peers, so it needs a network"
        raise InvalidRequest(f"{what}: folkmoot testnet up --cheat {attack.name}", field="name")
    from p2p.cli.tasks import run_async

    trial, stack = run_async(_run, options, attack)
    said = _judged(options, trial, stack)
    show(options, said, lambda: aligned(said, 10))
    return 0


def _line(row: dict[str, str]) -> str:
    needs = f" Needs {row['needs']}." if row["needs"] else ""
    return f"{row['name']:<32} {row['does']}{needs}\n{'':<32} caught by {row['caught_by']}"


async def _run(options: argparse.Namespace, attack: Attack) -> tuple[Trial, str]:
    """Start the engines, ask the cheat, check with the honest one. Returns (what came of it, the stack's name)."""
    from p2p.base.body import one_message
    from p2p.base.genesis import ModelSpec
    from p2p.base.sampling_params import make_params
    from p2p.inference.local_engine import open_engine
    from p2p.inference.stack.model import prepare_model, weights_hash
    from p2p.lab.attacks import weights
    from p2p.lab.attacks.trial import attempt
    from p2p.text.model_files import describe

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    url = options.engine if options.engine.startswith(("http://", "https://")) else None
    if url is None and options.engine not in ("torch", "vllm"):
        raise ConfigError("give torch, vllm, or the URL of a running ML node", field="engine")
    kind = "vllm" if url else options.engine
    model = options.model or prepare_model(say)
    params = make_params(temperature_milli=options.temperature, top_k=options.top_k, top_p_milli=options.top_p)
    facts = describe(model)
    spec = ModelSpec(
        DEFAULT_MODEL, weights_hash(model), facts.text.template_hash, "bfloat16", 0, 0, CONTEXT, eos_ids=facts.eos_ids,
        vocabulary=facts.vocabulary,
    )
    prompt = facts.text.prompt(one_message(options.prompt))
    async with AsyncExitStack() as opened:
        honest = await opened.enter_async_context(open_engine(kind, model, url, DEFAULT_MODEL, say))
        inner = honest
        if attack.own_engine:
            folder = weights.prepare(attack.weights, say, options.model) if attack.weights else model
            inner = await opened.enter_async_context(open_engine(
                kind, folder, None, DEFAULT_MODEL, say, flags=attack.vllm_flags, options=attack.torch_options,
            ))
        engine = attack.wrap(inner.engine, honest.engine)
        trial = await attempt(engine, honest.engine, spec, prompt, params, options.tokens, stack=honest.stack)
    return trial, honest.stack


def _judged(options: argparse.Namespace, trial: Trial, stack: str) -> dict[str, Any]:
    """What is printed: the answer, what stage 0 and stage 1 say of it, mean facts per token."""
    from p2p.verification import check, profile
    from p2p.verification.statistics import COLUMNS, answer_facts

    positions = trial.artifact.positions()
    header = trial.artifact.header
    said: dict[str, Any] = {"text": trial.text, "tokens": len(positions), "stage 0": trial.exact or "nothing to say"}
    if positions:
        means = answer_facts(positions, trial.rows, header.params, header.seed).mean(axis=0)
        said["means"] = ", ".join(f"{name} {value:.4f}" for name, value in zip(COLUMNS, means, strict=True))
    found = profile.load(options.profile) if options.profile else profile.shipped(DEFAULT_MODEL)
    if found is None:
        said["stage 1"] = "no calibration: folkmoot calibrate"
    elif positions:
        report = check.judge(trial.artifact, trial.rows, found.noise(stack, stack, context=header.context))
        said["stage 1"] = ("valid: " if report.valid else "INVALID: ") + report.reason
    return said
