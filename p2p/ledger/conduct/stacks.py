"""On which stack a participant may say that it made an answer. Law: one for each model in an epoch, and one of those it registered; so nobody
chooses answer by answer by which noise, and with which reputation, it is judged.

State: `Standing.bound`, which begins anew with each epoch.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.errors import RemoteProtocolError
from p2p.ledger.state.records import MAX_SERVED, Bound
from p2p.ledger.state.view import View
from p2p.verification.profile import family


def stack_problem(view: View, node: bytes, model: str, stack: str) -> str:
    """Why the chain would take no finish record of `node` that names `stack` now; empty where it would. Of registered stacks a bare family
    stands for all kernels of it."""
    participant = view.participant(node)
    if participant is not None and participant.stacks and not {stack, family(stack)} & set(participant.stacks):
        return f"the participant registered {', '.join(participant.stacks)} only"
    bound = view.standing(node).bound
    known = next((row.stack for row in bound if row.model == model), None)
    if known not in (None, stack):
        return f"in this epoch the participant serves {model} on {known}"
    return "too many models in one epoch" if known is None and len(bound) >= MAX_SERVED else ""


def bind_stack(view: View, node: bytes, model: str, stack: str) -> None:
    """A finish record goes on chain. Raises RemoteProtocolError(field='stack')."""
    if problem := stack_problem(view, node, model, stack):
        raise RemoteProtocolError(problem[:300], field="stack")
    standing = view.standing(node)
    if all(row.model != model for row in standing.bound):
        view.put_standing(node, replace(standing, bound=(*standing.bound, Bound(model, stack))))
