"""What is run. Law: a table; everything measured is a row here, and a row's name is its file's name.

honest rows are regimes of honest noise: batch sizes, temperatures, masks, both stacks. Attack rows name an attack of
p2p.lab.attacks and really run it. Some need no run of their own: laundering is the cheap text with the numbers of one
honest prefill, a wrong seed is an honest answer checked against another.
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
    """name: of its files. stack: that generates. attack: name in p2p.lab.attacks, '' for honest. batch: requests at
    once. params: what the client asked for. share: 1 = every prompt, 2 = every second, ... salt: of the seeds. joined:
    asks `joined` prompts instead."""

    name: str
    stack: str = VLLM
    attack: str = ""
    batch: int = 16
    params: Params = FREE
    share: int = 1
    salt: str = "a"
    joined: bool = False

    def seed(self, prompt: Prompt) -> bytes:
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
# no vLLM: a check of the whole way, not a result
SMALL = (Run("honest_torch_b16", TORCH), Run("int4_torch", TORCH, "int4"))
# what a validator can make by itself; more are never seen
FITTED = ("int8", "fp8", "int6", "int4", "wrong_temperature", "wrong_top_p")
# the text of these runs with honest numbers is what the laundered_* attacks publish
LAUNDERED = (
    "int8", "int4", "fp8", "smaller_model", "int6", "temperature_tuned_int4", "altered_system_prompt", "fp8_kv"
)
# refused by stage 0 alone, where they say anything else than an honest host (p2p/lab/measure/exact.py)
EXACT = ("truncation", "padding", "suppressed_eos", "replayed_answer", "wrong_seed")
EXACT_PROMPTS = 40
# prompts; characters of the first and more in each; tokens
JOINED, JOINED_FIRST, JOINED_STEP, JOINED_ANSWER = 48, 600, 65, 48


def prompts_of(run: Run, prompts: tuple[Prompt, ...]) -> Iterator[Prompt]:
    yield from joined(prompts) if run.joined else prompts[:: run.share]


def joined(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Calibration prompts one after the other, longer and longer: where do equal kernels stop to be exact? Never judged
    by.
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
    """A row of the plan; NAME_torch is the row NAME on the torch stack where the plan has no such row."""
    for run in RUNS:
        if run.name == name:
            return run
    base = next(run for run in RUNS if run.name == name.removesuffix("_torch"))
    return replace(base, name=name, stack=TORCH)


def calibration(stacks: tuple[str, ...]) -> tuple[Run, ...]:
    """The runs that a profile of these stacks is made of."""
    honest = [run for run in HONEST if run.stack in stacks]
    return (*honest, *(by_name(name if stack == VLLM else f"{name}_torch") for stack in stacks for name in FITTED))
