"""The plan: what is run on real engines.

Law: a table. Everything that is measured is a row here, and a row's name is the name of its file.

Honest rows are regimes of honest noise: batch sizes, temperatures, masks, both stacks. Attack rows name an attack of
p2p/lab/attacks and really run it. Two kinds of cheat need no run of their own: laundering is the cheap text with the
numbers of one honest prefill, and a wrong seed is an honest answer that is checked against another seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from p2p.base.keys import digest
from p2p.base.types import Params, StackClass
from p2p.lab.measure.space import Asked, draw
from p2p.verification.prompts import Prompt, split

VLLM, TORCH = str(StackClass.CPU_BF16), "torch-cpu-bf16"
FREE = Params(1000)
TOP_P = Params(1000, top_k=64, top_p_milli=950)
TOP_K = Params(700, top_k=40)
MIN_P = Params(1000, min_p_milli=50)
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
    redrawn: bool = False  # never generated: always drawn from contexts (redraw.py)
    equal_only: bool = False  # scored by the stack that answered alone
    drawn: bool = False  # each answer is asked for with parameters of its own (space.py)

    def scored_by(self, stack: str) -> bool:
        """Whether a validator of `stack` is to score this run's answers."""
        return stack == self.stack or not self.equal_only

    def asked(self, space: int, prompt: str, prompt_tokens: Sequence[int]) -> Asked:
        """How this run asks `prompt` (its id). space: seed of the parameters."""
        return draw(space, self.salt, prompt, prompt_tokens) if self.drawn else Asked(self.params)

    def seed(self, prompt: Prompt) -> bytes:
        """Seed of the tape under which this run answers `prompt`."""
        return digest(b"measure", self.salt.encode(), prompt.id.encode())


SPACE = (  # honest runs whose clients use all parameters there are
    Run("space_a", salt="sa", drawn=True), Run("space_torch_a", TORCH, share=2, salt="ta", drawn=True),
    Run("space_b", share=2, salt="sb", drawn=True), Run("space_torch_b", TORCH, share=2, salt="tb", drawn=True),
    Run("space_c", salt="sc", drawn=True),
    Run("space_b1", batch=1, share=12, salt="sh", drawn=True),
    Run("space_torch_b1", TORCH, batch=1, share=12, salt="ti", drawn=True),
    Run("redrawn_space", salt="ra", drawn=True, redrawn=True),
    Run("redrawn_space_torch", TORCH, salt="rt", drawn=True, redrawn=True),
    Run("mirrored_space_torch", TORCH, salt="mt", drawn=True, redrawn=True),
)
MIRRORED = frozenset({"mirrored_space_torch"})  # drawn at the other stack's real answers to the clients' space
HONEST = (
    Run("honest_b16", share=2), Run("honest_torch_b16", TORCH, share=2), *SPACE,
    Run("honest_min_p", params=MIN_P, share=4, salt="i"), Run("honest_top_p", params=TOP_P, share=4, salt="d"),
    Run("honest_t07_top_k", params=TOP_K, share=4, salt="e"), Run("honest_long", batch=8, salt="h", joined=True),
    Run("honest_b4", batch=4, share=6, salt="b"), Run("honest_b1", batch=1, share=12, salt="c"),
    Run("honest_greedy", params=GREEDY, share=6, salt="f"),
    Run("honest_torch_b1", TORCH, batch=1, share=12, salt="c"),
)
ONE_LIE = (
    Run("forged_stop", attack="forged_stop", share=8, equal_only=True),
    Run("hidden_eos", attack="hidden_eos", share=8, equal_only=True),
)
SAMPLING = (
    Run("wrong_temperature", attack="wrong_temperature", share=4),
    Run("wrong_top_p", attack="wrong_top_p", params=TOP_P, share=4, salt="d"),
    Run("altered_system_prompt", attack="altered_system_prompt", share=4, equal_only=True),
)
WEIGHTS = (
    Run("int8", attack="int8", share=3), Run("int4", attack="int4", share=4), Run("fp8", attack="fp8", share=4),
    Run("int6", attack="int6", share=5), Run("smaller_model", attack="smaller_model", share=6, equal_only=True),
    Run("temperature_tuned_int4", attack="temperature_tuned_int4", share=6, equal_only=True),
)
# further honest answers, for the rate at which equal kernels lose a token
MORE = tuple(Run(f"space_{name}", salt=f"s{name}", drawn=True, equal_only=True) for name in "defgi")
_ALL = (
    *HONEST, *WEIGHTS, *SAMPLING, Run("int8_torch", TORCH, "int8", share=3),
    Run("fp8_kv_torch", TORCH, "fp8_kv", share=3), *ONE_LIE, *MORE,
)
# in what order they are made: a run that is stopped has what matters most
_FIRST = (
    "space_a", "space_c", "honest_b16", "space_torch_a", "honest_torch_b16", "space_d", "space_e", "space_f",
    "honest_long", "space_g", "space_i", "space_b", "space_b1", "honest_min_p", "honest_top_p", "honest_t07_top_k",
    "int8", "int4", "fp8",
)
RUNS = tuple(sorted(_ALL, key=lambda run: (_FIRST.index(run.name) if run.name in _FIRST else len(_FIRST))))
# the torch stack alone (see __main__.py), one answer at a time: which answers share a batch hangs on a machine's load,
# and among so few answers one token that differs with it moves every rate. Other rows are derived by these names
SMALL = (Run("honest_torch_b16", TORCH, batch=1), Run("int4_torch", TORCH, "int4", batch=1))
# honest answers, judged as if another mask had been asked for: what a host publishes that ignores or loosens masks
RELABELLED = {
    "ignored_top_k_5": ("honest_b16", Params(1000, 5)), "ignored_top_k_40": ("honest_b16", Params(1000, 40)),
    "ignored_min_p_0.1": ("honest_b16", Params(1000, min_p_milli=100)),
    "ignored_top_p_0.5": ("honest_b16", Params(1000, 64, top_p_milli=500)),
    "ignored_top_p_0.9": ("honest_b16", Params(1000, 64, top_p_milli=900)),
    "loosened_min_p_0.1": ("honest_min_p", Params(1000, min_p_milli=100)),
    "loosened_top_k_30": ("honest_t07_top_k", Params(700, 30)),
    "loosened_top_p_0.9": ("honest_top_p", Params(1000, 64, top_p_milli=900)),
}
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


def find(name: str) -> Run | None:
    """The row of this name; where the plan has no row NAME_torch, the row NAME on the torch stack. None: neither."""
    named = {run.name: run for run in RUNS}
    base = named.get(name.removesuffix("_torch"))
    return named.get(name) or (replace(base, name=name, stack=TORCH) if base is not None else None)


def by_name(name: str) -> Run:
    """The same of a row that is there."""
    found = find(name)
    if found is None:
        raise KeyError(name)
    return found


def calibration(stacks: tuple[str, ...]) -> tuple[Run, ...]:
    """The runs that a profile of these stacks is made of."""
    honest = [run for run in HONEST if run.stack in stacks]
    return (*honest, *(by_name(name if stack == VLLM else f"{name}_torch") for stack in stacks for name in FITTED))
