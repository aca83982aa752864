"""How long a convicted participant is excluded. Law: every conviction that is not forgotten doubles the time, up to a
bound; only epochs of checked and clean work make one forgotten, not leaving and not another node key of the same owner.

After the exclusion a participant begins with reputation 0. When one with convictions leaves, they are kept for its node
key and for its owner (keys.past_of_node, keys.past_of_owner) until one of these registers again.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from p2p.base.codec import encode, load
from p2p.base.genesis import CheckRules
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.state import keys
from p2p.ledger.state.records import Participant, PastConvictions
from p2p.ledger.state.view import View

_MAX_DOUBLINGS = 30  # more epochs than exclusion_max_epochs can allow


def convict(ctx: Context, participant: Participant, reason: str) -> None:
    """Exclude it for the rest of this epoch and 1, 2, 4, ... whole epochs after it, by how many convictions it has."""
    most = ctx.checks.exclusion_max_epochs
    epochs = min(1 << min(participant.convictions, _MAX_DOUBLINGS), most)
    until = (ctx.epoch + 1 + epochs) * ctx.genesis.epoch_blocks
    ctx.view.put_participant(replace(
        participant, reputations=(), convicted_until=until, convicted_reason=reason,
        convictions=participant.convictions + 1, convicted_at=ctx.height, clean_epochs=0,
    ))


def convicted_this_epoch(ctx: Context, participant: Participant) -> bool:
    """Whether it was convicted in the running epoch, so that it pays at its end (money/epoch_settlement.py)."""
    return participant.convicted_at > 0 and epoch_of(ctx.genesis, participant.convicted_at) == ctx.epoch


def after_epoch(participant: Participant, checks: CheckRules, *, clean: bool, struck: bool) -> Participant:
    """The participant at an epoch's end: a conviction is forgotten after `exclusion_clean_epochs` clean epochs.

    clean: enough of its output was checked, and all stood. struck: an answer did not stand. An epoch with too little
    checked counts neither way, so a conviction cannot be waited away.
    """
    if not participant.convictions or struck or participant.convicted_until:
        return replace(participant, clean_epochs=0)
    if participant.clean_epochs + clean < checks.exclusion_clean_epochs:
        return replace(participant, clean_epochs=participant.clean_epochs + clean)
    return replace(participant, convictions=participant.convictions - 1, clean_epochs=0)


def remember(view: View, participant: Participant) -> None:
    """It leaves: keep its convictions for its node key and for its owner."""
    mine = _past_of(participant)
    if mine == PastConvictions():
        return
    for key in _keys(participant.node, participant.owner):
        view.put(key, encode(_worst([mine, _past(view, key)])))


def inherited(ctx: Context, participant: Participant, others: Iterable[Participant]) -> Participant:
    """A new participant with the worst convictions of its node key, its owner's former nodes and its owner's
    `others`."""
    names = _keys(participant.node, participant.owner)
    worst = _worst([*(_past(ctx.view, name) for name in names), *map(_past_of, others)])
    for name in names:
        ctx.view.put(name, None)
    if worst.convicted_until <= ctx.height:
        worst = replace(worst, convicted_until=0)
    return replace(
        participant, convictions=worst.convictions, convicted_until=worst.convicted_until,
        convicted_reason=worst.convicted_reason,
    )


def _past_of(participant: Participant) -> PastConvictions:
    if not participant.convictions and not participant.convicted_until:
        return PastConvictions()
    return PastConvictions(participant.convictions, participant.convicted_until, participant.convicted_reason)


def _past(view: View, key: bytes) -> PastConvictions:
    raw = view.get(key)
    return load(PastConvictions, raw) if raw else PastConvictions()


def _worst(pasts: list[PastConvictions]) -> PastConvictions:
    longest = max(pasts, key=lambda past: (past.convicted_until, past.convictions))
    return replace(longest, convictions=max(past.convictions for past in pasts))


def _keys(node: bytes, owner: bytes) -> tuple[bytes, bytes]:
    return keys.past_of_node(node), keys.past_of_owner(owner)
