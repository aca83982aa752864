"""Cheats by name, for test networks, the benchmark and researchers.

Law: one file each, imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError

if TYPE_CHECKING:
    from p2p.lab.attacks.base import Attack

NAMES = (
    # what the engine runs
    "smaller_model", "int8", "fp8", "int6", "int4", "fp8_kv",
    "laundered_smaller_model", "laundered_int8", "laundered_fp8", "laundered_int6", "laundered_int4",
    "laundered_fp8_kv",
    "weight_noise", "low_rank", "pruned", "layer_skip", "int5", "rope_theta",
    "laundered_weight_noise", "laundered_low_rank", "laundered_pruned", "laundered_layer_skip", "laundered_int5",
    "laundered_rope_theta", "smart_drafts",
    # what the engine is asked
    "wrong_temperature", "wrong_top_p", "wrong_seed", "temperature_tuned_int4", "altered_system_prompt",
    "laundered_altered_prompt",
    "laundered_temperature_tuned_int4", "ignored_mask", "grammar_dropped",
    "slipped_penalty", "context_cut",
    # what is said about what came out
    "truncation", "forged_stop", "suppressed_eos", "hidden_eos", "padding", "fabricated_logprobs", "touched_up_int8",
    "touched_up_int4",
    "censor", "late_switch", "advertisement", "replayed_answer", "substitution_10", "commit_honest_serve_other",
    "serve_other_text",
    "out_of_vocabulary", "repeated_candidates", "free_claim_taken_over", "eos_prefix", "withholding", "breaks_off",
    "grammar_broken", "grammar_nudged",
    # what validators say
    "lazy_validator", "copying_validator", "colluding_validator", "framing_validator", "cheap_validator",
)
ALIASES = {"wrong_prompt": "altered_system_prompt"}


def get(name: str) -> Attack:
    """One attack; its name may have dashes for underscores, and a knob as in `smart_drafts:0.2` where its file has
    one. Raises ConfigError that lists all names."""
    plain, _, knob = name.partition(":")
    plain = plain.replace("-", "_")
    plain = ALIASES.get(plain, plain)
    if plain not in NAMES:
        raise ConfigError(f"there is no attack {name[:40]!r}; the attacks are {', '.join(NAMES)}", field="cheat")
    module = import_module(f"p2p.lab.attacks.{plain}")
    attack: Attack = tuned(module, plain, knob) if knob else module.ATTACK
    return attack


def tuned(module: ModuleType, name: str, knob: str) -> Attack:
    """The module's attack with its knob at this value. Raises ConfigError."""
    try:
        made: Attack = module.tuned(float(knob))
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"{name} has no knob {knob[:40]!r}; use it without", field="cheat") from error
    return made


def load() -> dict[str, Attack]:
    """Every attack, in the order of NAMES."""
    return {name: get(name) for name in NAMES}
