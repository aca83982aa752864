"""The mark of an engine's kernels: the same numbers, the same name; other numbers, another; no answer, a stranger."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.errors import Unavailable
from p2p.base.types import StackClass
from p2p.inference.stack.kernels import PROBE_TOKENS, stack_name
from p2p.verification.engine import Row
from p2p.verification.profile import family


class Kernels:
    """Log-probabilities by a formula; `off` nats more at one position."""

    def __init__(self, off: float = 0.0, fail: bool = False) -> None:
        self.off, self.fail = off, fail

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        if self.fail:
            raise Unavailable("down", field="ml_node")
        rows: list[Row] = [{rank: -0.3 * rank - 0.01 * at for rank in range(top)} for at in range(len(output_tokens))]
        assert len(prompt_tokens) + len(rows) == PROBE_TOKENS
        rows[-1][0] += self.off
        return tuple(rows)


async def name(engine: Kernels) -> str:
    return await stack_name(engine, StackClass.CPU_BF16)  # type: ignore[arg-type]


async def test_a_name_is_what_the_kernels_compute() -> None:
    own = await name(Kernels())
    assert own == await name(Kernels(1e-7)), "the order of a float32 sum is no other kernel"
    assert own != await name(Kernels(1 / 64)), "one rounding in bfloat16 is"
    assert family(own) == StackClass.CPU_BF16 != own


async def test_who_does_not_answer_is_a_stranger() -> None:
    assert await name(Kernels(fail=True)) == StackClass.CPU_BF16
