"""What the chain says of the sprint, for a racing peer and, as plain data, for people. Law: read only; what is shown is what would be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis, ModelSpec
from p2p.base.types import Status
from p2p.ledger.participants.sprint import Heights, Run, Sprint, check_racer, drawn, heights, run_of, runs, samples, sprint_of
from p2p.ledger.participants.weights import next_weights
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state.view import View


@dataclass(frozen=True, slots=True)
class Race:
    """The running sprint for one node and model. spec: as of its beacon. may: whether the chain would take a commitment of it. run: what it
    committed to. drawn: what it must open; none before the draw."""

    sprint: Sprint
    heights: Heights
    spec: ModelSpec
    may: bool
    run: Run | None
    drawn: tuple[int, ...]


def race(view: View, genesis: Genesis, height: int, node: bytes, model: str) -> Race | None:
    """As of the block after `height`; None where no sprint runs, or none of this model."""
    sprint = sprint_of(view)
    if sprint is None or sprint.epoch != epoch_of(genesis, height + 1):
        return None
    times = heights(genesis, sprint.epoch)
    spec = spec_at(view, model, times.first)
    if spec is None:
        return None
    try:
        check_racer(Context(view, genesis, height + 1), node, model)
        may = True
    except InvalidRequest:
        may = False
    run = run_of(view, node, model)
    return Race(sprint, times, spec, may, run, drawn(genesis, sprint, run) if run else ())


def sprint_view(view: View, genesis: Genesis, height: int) -> dict[str, Any]:
    """phase: 'none' (this network has no sprint), 'waiting' (for the epoch's first beacon), 'race', 'draw', 'open', 'checks'. weight_next: if
    the epoch ended now. A run's checked are answers that stood, refused those that did not; withheld: not opened, and too late."""
    sprint, epoch = sprint_of(view), epoch_of(genesis, height + 1)
    if not genesis.sprint.blocks:
        return {"height": height, "epoch": epoch, "phase": "none"}
    times, running = heights(genesis, epoch), sprint is not None and sprint.epoch == epoch
    phase = "waiting" if not running else next(
        (name for name, last in (("race", times.close), ("draw", times.draw), ("open", times.end)) if height < last), "checks"
    )
    weights = dict(next_weights(Context(view, genesis, height + 1))) if running else {}
    return {
        "height": height, "epoch": epoch, "phase": phase, "first": times.first, "close": times.close, "draw": times.draw, "end": times.end,
        "runs": [_run_view(view, genesis, run, over=height >= times.end) for run in runs(view)] if running else [],
        "participants": [
            {"node": p.node.hex(), "owner": p.owner.hex(), "weight": p.weight, "weight_next": weights.get(p.node, p.weight)}
            for p in view.participants()
        ],
    }


def _run_view(view: View, genesis: Genesis, run: Run, *, over: bool) -> dict[str, Any]:
    answers = [found for opened in run.opened if (found := view.inference(opened.inference_id)) is not None]
    stood = (Status.VALIDATED.value, Status.UPHELD.value)
    return {
        "node": run.node.hex(), "model": run.model, "count": run.count, "samples": samples(genesis, run), "opened": len(run.opened),
        "checked": sum(answer.status in stood for answer in answers),
        "refused": sum(answer.status == Status.INVALIDATED.value for answer in answers),
        "withheld": samples(genesis, run) - len(run.opened) if over else 0,
        "answers": [opened.inference_id.hex() for opened in run.opened],
    }
