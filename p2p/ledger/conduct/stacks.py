"""On which stack a participant may say that it made an answer. Law: one stack for each model in an epoch, and one that
it registered; so it cannot choose, answer by answer, the noise and the reputation by which it is judged.

A stack names the program and kernels that made an answer. The choice is in Conduct.bound, which every epoch begins
empty (decision 035).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.errors import RemoteProtocolError
from p2p.ledger.state.records import MAX_SERVED, BoundStack
from p2p.ledger.state.view import View
from p2p.verification.profile import family

MAX_MESSAGE = 300  # characters of a refusal: a participant may have registered long names


def stack_problem(view: View, node: bytes, model: str, stack: str) -> str:
    """Why the chain would refuse a finish record of `node` that names `stack` now; empty where it would not. A
    registered stack without kernels stands for all kernels of its family."""
    participant = view.participant(node)
    if participant is not None and participant.stacks and not {stack, family(stack)} & set(participant.stacks):
        return f"the participant registered only {', '.join(participant.stacks)}"
    bound = view.conduct(node).bound
    known = next((row.stack for row in bound if row.model == model), None)
    if known not in (None, stack):
        return f"in this epoch the participant serves {model} on {known}"
    return "too many models in one epoch" if known is None and len(bound) >= MAX_SERVED else ""


def bind_stack(view: View, node: bytes, model: str, stack: str) -> None:
    """A finish record of `node` is applied: it serves `model` on `stack` for the rest of the epoch. Raises
    RemoteProtocolError(field='stack')."""
    if problem := stack_problem(view, node, model, stack):
        raise RemoteProtocolError(problem[:MAX_MESSAGE], field="stack")
    conduct = view.conduct(node)
    if all(row.model != model for row in conduct.bound):
        view.put_conduct(node, replace(conduct, bound=(*conduct.bound, BoundStack(model, stack))))
