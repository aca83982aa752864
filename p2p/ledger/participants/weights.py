"""Weights that were earned: what the answers of a sprint make of each participant. Law: a commitment counts as far as its sample was checked and
found true, and for nothing when one drawn answer was not opened or refused. One whose payload no committee could get is as if it had not been
made; what nobody could check otherwise changes nothing.

They are counted where the next epoch's validator set is made, two heights before it begins, kept under `weights`, and become the participants'
own with that epoch's first height: blocks, draws, committees and emission then weigh the same. By then every answer is decided, its appeal
included (sprint.late).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from p2p.base.codec import encode, load
from p2p.base.limits import MAX_VALIDATORS
from p2p.base.types import STANDS, Status
from p2p.ledger.participants.sprint import Run, runs, samples
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import capped
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

MAX_WEIGHT = 1 << 48  # of one participant: sums of weights and proposers' priorities stay below 2^62
MILLI = 1000
Weights = tuple[tuple[bytes, int], ...]
_CHECKED = frozenset(STANDS) - {Status.SETTLED.value}  # SETTLED: nobody else could check it


def next_weights(ctx: Context) -> Weights:
    """(node, weight) of each participant, by key, if the epoch ended now.

    Who made no commitment keeps half, so that one missed race hands consensus to nobody; who is convicted keeps nothing."""
    made: dict[bytes, list[int | None]] = {}
    hidden = {ctx.view.node_now(run.node) for run in runs(ctx.view) if is_hidden(ctx, run)}
    for run in runs(ctx.view):
        made.setdefault(ctx.view.node_now(run.node), []).append(None if is_hidden(ctx, run) else verified_milli(ctx, run))
    found = []
    for participant in ctx.view.participants():
        decided = [value for value in made.get(participant.node, ()) if value is not None]
        if participant.convicted_until:
            weight = 0
        elif decided:
            weight = min(sum(decided) // (MILLI * ctx.genesis.sprint.unit_tokens), MAX_WEIGHT)
        else:
            undecided = participant.node in made and participant.node not in hidden
            weight = participant.weight if undecided else participant.weight // 2
        found.append((participant.node, weight))
    return tuple(found)


def is_hidden(ctx: Context, run: Run) -> bool:
    """All drawn answers were opened, none was refused, and no committee could get one of them. Its node may have been cut off, or hide what it
    never made: it keeps what one keeps that made no commitment, so hiding is no better than staying away."""
    answers = [found for opened in run.opened if (found := ctx.view.inference(opened.inference_id)) is not None]
    ends = {answer.status for answer in answers}
    return len(answers) >= samples(ctx.genesis, run) and Status.WITHHELD.value in ends and Status.INVALIDATED.value not in ends


def verified_milli(ctx: Context, run: Run) -> int | None:
    """The output tokens that a commitment is worth, times the model's cost factor in thousandths: as many answers as it has, of the mean
    length of the checked ones. None: nothing was decided."""
    answers = [found for opened in run.opened if (found := ctx.view.inference(opened.inference_id)) is not None]
    if len(answers) < samples(ctx.genesis, run) or any(answer.status == Status.INVALIDATED.value for answer in answers):
        return 0
    good = [answer for answer in answers if answer.status in _CHECKED]
    if not good:
        return None
    spec = spec_at(ctx.view, run.model, good[0].draw_height)
    tokens = sum(answer.finish.record.output_tokens for answer in good if answer.finish)
    return run.count * tokens * (spec.cost_milli if spec else MILLI) // len(good)


def count(ctx: Context, out: Collection[bytes]) -> Weights:
    """The next epoch's validator set, without those in `out`: the MAX_VALIDATORS heaviest, capped by owner. Where nobody would be left it is
    empty, and all weights stay as they are."""
    weights = next_weights(ctx)
    heaviest = sorted(((node, weight) for node, weight in weights if weight > 0 and node not in out), key=lambda one: (-one[1], one[0]))
    if not heaviest:
        return ()
    ctx.view.put(keys.NEXT_WEIGHTS, encode(weights))
    rows = [(node, ctx.view.owner_of(node) or node, weight) for node, weight in heaviest[:MAX_VALIDATORS]]
    return tuple(sorted(capped(rows, ctx.economy.owner_cap_milli).items()))


def begin_epoch(view: View) -> None:
    """At an epoch's last height, after all that the old weights decide."""
    raw = view.get(keys.NEXT_WEIGHTS)
    if raw is None:
        return
    for node, weight in load(Weights, raw):
        participant = view.participant(node)
        if participant is not None and participant.weight != weight:
            view.put_participant(replace(participant, weight=weight))
    view.put(keys.NEXT_WEIGHTS, None)
