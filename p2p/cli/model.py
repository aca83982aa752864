"""model: what a folder of weights says about its model, and the proposal that adds it to the network.

Law: everything that the registry needs is read from the model's own files; what they do not say is asked for by name.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_MODEL_NAME
from p2p.cli.account import checked_genesis, common, send
from p2p.cli.arguments import MAX_AMOUNT, utf8, whole
from p2p.cli.output import aligned, show

if TYPE_CHECKING:
    from p2p.base.genesis import ModelSpec


def register(commands: Any) -> None:
    command = commands.add_parser("model")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    described = actions.add_parser("describe", help="what the folder says; nothing is sent")
    added = actions.add_parser("add", help="propose the model; participants vote (folkmoot governance vote)")
    for action in (described, added):
        action.add_argument("path", type=Path, metavar="PATH", help="folder with config.json, weights and tokenizer")
        action.add_argument("--name", default="", help="the model's name in requests (default: the folder's)")
        action.add_argument(
            "--price", type=whole(1, MAX_AMOUNT), default=10, metavar="MICRO",
            help="micro-credits of a token at first; the network moves it (default: %(default)s)",
        )
        action.add_argument(
            "--context", type=whole(1, 1 << 20), default=0, metavar="N",
            help="tokens of prompt and answer that hosts must offer (default: what the model can)",
        )
        action.add_argument(
            "--precision", default="bfloat16", metavar="TEXT",
            help="of the weights as served; a quantised model is a model of its own (default: %(default)s)",
        )
        action.add_argument(
            "--profile", type=Path, metavar="FILE",
            help="its calibration, which validators must judge by (`folkmoot calibrate`)",
        )
        action.set_defaults(run=run)
    common(added)


def run(options: argparse.Namespace) -> int:
    utf8(options.name, "name")
    spec = read_spec(options)
    plain = _plain(spec)
    if options.action == "describe":
        show(options, plain, lambda: aligned(plain, 24))
        return 0
    from p2p.base.keys import Key
    from p2p.ledger.rules.ops import AddModel, Propose

    genesis = checked_genesis(options)
    if not options.json:
        print(aligned(plain, 24), flush=True)
    return send(options, genesis, Key.load(options.dir / "account.key"), Propose(AddModel(spec)))


def read_spec(options: argparse.Namespace) -> ModelSpec:
    """The registry entry of the model in `options.path`. Raises ConfigError naming what is missing."""
    from p2p.base.genesis import ModelSpec
    from p2p.inference.stack.model import weights_hash
    from p2p.text.model_files import describe
    from p2p.verification import profile

    name = options.name or options.path.resolve().name
    if len(name) > MAX_MODEL_NAME:
        raise ConfigError(f"a model's name has at most {MAX_MODEL_NAME} characters; give --name", field="name")
    facts = describe(options.path)
    if not facts.eos_ids:
        raise ConfigError(
            "the model's files name no end token; add eos_token_id to its generation_config.json", field="eos_ids",
        )
    if options.context > facts.context_tokens:
        raise ConfigError(f"the model's context has {facts.context_tokens} tokens", field="context")
    weights = weights_hash(options.path)
    judged = profile.load(options.profile) if options.profile else profile.shipped(name)
    if judged is None and options.action == "add":
        raise ConfigError(
            f"no calibration of {name} is shipped, and nobody could check it; make one with "
            f"`folkmoot calibrate {options.path}` and give it as --profile", field="profile",
        )
    if judged is not None and (judged.model, judged.weights_hash) != (name, weights.hex()):
        raise ConfigError(
            f"the profile is of {judged.model} with the weights {judged.weights_hash[:12]}, this is {name} with "
            f"{weights.hex()[:12]}; validators would call honest answers cheating", field="profile",
        )
    return ModelSpec(
        name, weights, facts.text.template_hash, options.precision, options.price, 1,
        options.context or facts.context_tokens, facts.text.tokenizer_hash,
        profile_hash=judged.hash() if judged else "",
        vocabulary=facts.vocabulary, eos_ids=facts.eos_ids, template_tokens=facts.template_tokens,
        tool_format=facts.tool_format,
    )


def _plain(spec: ModelSpec) -> dict[str, Any]:
    """For people and JSON."""
    return {
        "model": spec.model, "weights_hash": spec.weights_hash.hex(), "tokenizer_hash": spec.tokenizer_hash.hex(),
        "template_hash": spec.template_hash.hex() if any(spec.template_hash) else "none: completions only",
        "template_tokens": ", ".join(f"{name} {token}" for name, token in spec.template_tokens),
        "vocabulary": spec.vocabulary, "end_tokens": ", ".join(map(str, spec.eos_ids)),
        "context_tokens": spec.context_tokens, "tool_format": spec.tool_format or "none", "precision": spec.precision,
        "price_micro": spec.price_micro,
        "profile_hash": spec.profile_hash or "none: calibrate it before it is added (folkmoot calibrate)",
    }
