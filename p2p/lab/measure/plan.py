"""The plan: what is run on real engines.

Law: a table. Everything that is measured is a row here, and a row's name is the name of its file.

Honest rows are regimes of honest noise: batch sizes, temperatures, masks, both stacks. Attack rows name an attack of
p2p/lab/attacks and really run it. Two kinds of cheat need no run of their own: laundering is the cheap text with the
numbers of one honest prefill, and a wrong seed is an honest answer that is checked against another seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from p2p.base.keys import digest
from p2p.base.types import Params, StackClass
from p2p.verification.prompts import Prompt, split

VLLM, TORCH = str(StackClass.CPU_BF16), "torch-cpu-bf16"
FREE = Params(1000)
TOP_P = Params(1000, top_k=64, top_p_milli=950)
TOP_K = Params(700, top_k=40)
GREEDY = Params(0)


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the plan."""

    name: str  # of its files
    stack: str = VLLM  # that generates
    attack: str = ""  # name in p2p/lab/attacks; '' for an honest run
    batch: int = 16  # requests that run at the same time
    params: Params = FREE  # what the client asks for
    share: int = 1  # 1: every prompt is asked, 2: every second one, ...
    salt: str = "a"  # runs with the same salt have the same seeds
    joined: bool = False  # asks the prompts of `joined` instead

    def seed(self, prompt: Prompt) -> bytes:
        """Seed of the tape under which this run answers `prompt`."""
        return digest(b"measure", self.salt.encode(), prompt.id.encode())


HONEST = (
    Run("honest_b16"), Run("honest_b4", batch=4, share=2, salt="b"), Run("honest_b1", batch=1, share=3, salt="c"),
    Run("honest_b1_again", batch=1, share=2, salt="g"),
    Run("honest_top_p", params=TOP_P, share=2, salt="d"), Run("honest_t07_top_k", params=TOP_K, share=2, salt="e"),
    Run("honest_greedy", params=GREEDY, share=2, salt="f"),
    Run("honest_long", batch=8, salt="h", joined=True),
    Run("honest_torch_b16", TORCH), Run("honest_torch_b1", TORCH, batch=1, share=4, salt="c"),
)
ONE_LIE = (Run("forged_stop", attack="forged_stop", share=3), Run("hidden_eos", attack="hidden_eos", share=3))
SAMPLING = (
    Run("wrong_temperature", attack="wrong_temperature"),
    Run("wrong_top_p", attack="wrong_top_p", params=TOP_P, share=2, salt="d"),
    Run("altered_system_prompt", attack="altered_system_prompt", share=3),
)
WEIGHTS = (
    Run("int8", attack="int8"), Run("int4", attack="int4", share=2), Run("fp8", attack="fp8", share=2),
    Run("smaller_model", attack="smaller_model", share=3), Run("int6", attack="int6", share=3),
    Run("temperature_tuned_int4", attack="temperature_tuned_int4", share=3),
)
RUNS = (
    *HONEST, *SAMPLING, *ONE_LIE, *WEIGHTS, Run("fp8_kv_torch", TORCH, "fp8_kv", share=2),
    Run("int8_torch", TORCH, "int8", share=2),
)
SMALL = (Run("honest_torch_b16", TORCH), Run("int4_torch", TORCH, "int4"))  # the torch stack alone: see __main__.py
# cheats that a validator can make by itself, and that profiles are fitted with; the others are only judged
FITTED = ("int8", "fp8", "int6", "int4", "wrong_temperature", "wrong_top_p")
# the text of these runs with honest numbers is what the laundered_* attacks publish
LAUNDERED = (
    "int8", "int4", "fp8", "smaller_model", "int6", "temperature_tuned_int4", "altered_system_prompt", "fp8_kv",
)
# refused by stage 0 alone, where they say anything else than an honest host (exact.py)
EXACT = ("truncation", "padding", "suppressed_eos", "replayed_answer", "wrong_seed")
EXACT_PROMPTS = 40
JOINED = 48  # joined prompts
JOINED_FIRST, JOINED_STEP = 600, 65  # characters of the first one; how many more each next one has
JOINED_ANSWER = 48  # tokens that each asks for


def prompts_of(run: Run, prompts: tuple[Prompt, ...]) -> Iterator[Prompt]:
    """The prompts that `run` asks, in order."""
    yield from joined(prompts) if run.joined else prompts[:: run.share]


def joined(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Ever longer prompts made of calibration prompts, to find the context beyond which equal kernels are not exact.

    Profiles are fitted on them and never judged by them.
    """
    own = split(prompts)[0]
    found = []
    for at in range(JOINED):
        text, start, wanted = "", 7 * at, JOINED_FIRST + JOINED_STEP * at
        while len(text) < wanted:
            text, start = f"{text}\n{own[start % len(own)].text}", start + 1
        found.append(Prompt(f"joined-{at}", "long", text[:wanted], JOINED_ANSWER))
    return tuple(found)


def by_name(name: str) -> Run:
    """The row of this name; where the plan has no row NAME_torch, the row NAME on the torch stack."""
    for run in RUNS:
        if run.name == name:
            return run
    base = next(run for run in RUNS if run.name == name.removesuffix("_torch"))
    return replace(base, name=name, stack=TORCH)


def calibration(stacks: tuple[str, ...]) -> tuple[Run, ...]:
    """The runs that a profile of these stacks is made of."""
    honest = [run for run in HONEST if run.stack in stacks]
    return (*honest, *(by_name(name if stack == VLLM else f"{name}_torch") for stack in stacks for name in FITTED))
