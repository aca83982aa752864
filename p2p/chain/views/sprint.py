"""What the chain says of the sprint, to a peer that runs it and to people.

Law: read only; what is shown is what would be counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.errors import InvalidRequest
from p2p.base.genesis import ModelSpec
from p2p.base.types import Status
from p2p.ledger.participants.sprint import (
    Heights,
    Run,
    Sprint,
    check_may_commit,
    drawn,
    heights,
    run_of,
    runs,
    samples,
    sprint_of,
)
from p2p.ledger.participants.weights import next_weights
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import spec_at
from p2p.wire.answers.network import RunRow, SprintAnswer, SprintWeight


@dataclass(frozen=True, slots=True)
class SprintView:
    """The running sprint as one node and model see it."""

    sprint: Sprint
    heights: Heights
    spec: ModelSpec  # as of the sprint's beacon
    may_commit: bool  # whether the chain would take a commitment of this node
    run: Run | None  # what it committed to
    drawn: tuple[int, ...]  # which answers it must open; none before the draw


def sprint_view(ctx: Context, node: bytes, model: str) -> SprintView | None:
    """As of the context's block; None where no sprint runs, or none of this model."""
    sprint = sprint_of(ctx.view)
    if sprint is None or sprint.epoch != ctx.epoch:
        return None
    times = heights(ctx.genesis, sprint.epoch)
    spec = spec_at(ctx.view, model, times.first)
    if spec is None:
        return None
    try:
        check_may_commit(ctx, node, model)
        may_commit = True
    except InvalidRequest:
        may_commit = False
    run = run_of(ctx.view, node, model)
    indices = drawn(ctx.genesis, sprint, run) if run else ()
    return SprintView(sprint, times, spec, may_commit, run, indices)


def sprint_answer(ctx: Context) -> SprintAnswer:
    """The sprint of the running epoch, phase by phase."""
    sprint, height = sprint_of(ctx.view), ctx.height - 1
    if not ctx.genesis.sprint.blocks:
        return SprintAnswer(height, ctx.epoch, "none")
    times, running = heights(ctx.genesis, ctx.epoch), sprint is not None and sprint.epoch == ctx.epoch
    phase = "waiting" if not running else next(
        (name for name, last in (("answer", times.close), ("draw", times.draw), ("open", times.end)) if height < last),
        "checks",
    )
    weights = dict(next_weights(ctx)) if running else {}
    return SprintAnswer(
        height, ctx.epoch, phase, times.first, times.close, times.draw, times.end,
        tuple(_run(ctx, run, over=height >= times.end) for run in runs(ctx.view)) if running else (),
        tuple(
            SprintWeight(p.node.hex(), p.owner.hex(), p.weight, weights.get(p.node, p.weight))
            for p in ctx.view.participants()
        ),
    )


def _run(ctx: Context, run: Run, *, over: bool) -> RunRow:
    answers = [found for opened in run.opened if (found := ctx.view.inference(opened.inference_id)) is not None]
    stood, count = (Status.VALIDATED.value, Status.UPHELD.value), samples(ctx.genesis, run)
    return RunRow(
        node=run.node.hex(), model=run.model, count=run.count, samples=count, opened=len(run.opened),
        checked=sum(answer.status in stood for answer in answers),
        refused=sum(answer.status == Status.INVALIDATED.value for answer in answers),
        withheld=count - len(run.opened) if over else 0,
        answers=tuple(opened.inference_id.hex() for opened in run.opened),
    )
