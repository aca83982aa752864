"""What the answers of a sprint make of each participant's weight. Law: a commitment counts as far as its sample was
checked and found true, and not at all when one drawn answer was refused or not opened.

A commitment whose payload no committee could get counts as none; an answer that nobody could check for another reason
changes nothing. Weights are counted when the next epoch's validator set is made, two heights before it begins. They
become the participants' own with that epoch's first height, so blocks, draws, committees and emission weigh the same.
By then every answer is decided, appeals included (sprint.late).
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
_CHECKED = frozenset(STANDS) - {Status.SETTLED.value}  # SETTLED here means that nobody else could check it


def next_weights(ctx: Context) -> Weights:
    """(node, weight) of each participant, by key, if the epoch ended now.

    A participant without a commitment keeps half, so one missed sprint hands consensus to nobody. A convicted one has
    none.
    """
    made: dict[bytes, list[int | None]] = {}
    hidden = {ctx.view.node_now(run.node) for run in runs(ctx.view) if is_hidden(ctx, run)}
    for run in runs(ctx.view):
        worth = None if is_hidden(ctx, run) else verified_milli(ctx, run)
        made.setdefault(ctx.view.node_now(run.node), []).append(worth)
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
    """Whether all drawn answers were opened, none was refused, and no committee could get one of them.

    The node may have been cut off, or hide what it never made. It keeps as much as without a commitment, so hiding is
    no better than staying away.
    """
    answers = [found for opened in run.opened if (found := ctx.view.inference(opened.inference_id)) is not None]
    ends = {answer.status for answer in answers}
    opened = len(answers) >= samples(ctx.genesis, run)
    return opened and Status.WITHHELD.value in ends and Status.INVALIDATED.value not in ends


def verified_milli(ctx: Context, run: Run) -> int | None:
    """What a commitment is worth: its number of answers x mean output tokens of the checked ones x cost factor in
    thousandths.

    None: nothing was decided.
    """
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
    """The next epoch's validator set: the MAX_VALIDATORS heaviest that are not in `out`, capped by owner.

    Where nobody would be left it is empty, and all weights stay as they are.
    """
    weights = next_weights(ctx)
    allowed = ((node, weight) for node, weight in weights if weight > 0 and node not in out)
    heaviest = sorted(allowed, key=lambda one: (-one[1], one[0]))
    if not heaviest:
        return ()
    ctx.view.put(keys.NEXT_WEIGHTS, encode(weights))
    rows = [(node, ctx.view.owner_of(node) or node, weight) for node, weight in heaviest[:MAX_VALIDATORS]]
    return tuple(sorted(capped(rows, ctx.economy.owner_cap_milli).items()))


def begin_epoch(view: View) -> None:
    """At an epoch's last height, after everything that the old weights decide: the counted weights become the
    participants' own.
    """
    raw = view.get(keys.NEXT_WEIGHTS)
    if raw is None:
        return
    for node, weight in load(Weights, raw):
        participant = view.participant(node)
        if participant is not None and participant.weight != weight:
            view.put_participant(replace(participant, weight=weight))
    view.put(keys.NEXT_WEIGHTS, None)
