"""Whether others share a host's kernels. Law: read only; a host's own word, and its owner's other nodes, never count.

Only equal kernels see a cheat that keeps close to the right model. So an executor whose kernels nobody else is known to
have is checked always and paid less (decision 067). A node is known to have kernels when it has reputation with the
model on that stack, which it earned by checked answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import counted_weights

MILLI = 1000


@dataclass(slots=True)
class _Known:
    """Counted weight of the participants that are known to serve a model."""

    by_owner: dict[bytes, int] = field(default_factory=dict)
    by_stack: dict[str, dict[bytes, int]] = field(default_factory=dict)  # stack -> owner -> weight

    def others(self, owner: bytes | None, stack: str) -> tuple[int, int]:
        """(weight of other owners on this stack, weight of other owners on any)."""
        on, every = self.by_stack.get(stack, {}), self.by_owner
        return sum(on.values()) - on.get(owner or b"", 0), sum(every.values()) - every.get(owner or b"", 0)


def is_shared(ctx: Context, node: bytes, model: str, stack: str) -> bool:
    """Whether enough weight of other owners has the kernels `stack` (CheckRules.shared_kernels_milli).

    The whole is the weight of other owners that are known to serve the model at all. While there are none, as at a
    network's beginning, nobody is worse off than others and all kernels count as shared.
    """
    known = ctx.view.once(f"kernels {model}", lambda: _known(ctx, model))
    on, every = known.others(ctx.view.owner_of(node), stack)
    return on * MILLI >= every * ctx.checks.shared_kernels_milli


def _known(ctx: Context, model: str) -> _Known:
    found, weights = _Known(), counted_weights(ctx)
    for participant in ctx.view.participants():
        stacks = {row.stack for row in participant.reputations if row.model == model}
        weight, owner = weights[participant.node], participant.owner
        for held in (found.by_owner, *(found.by_stack.setdefault(stack, {}) for stack in stacks)) if stacks else ():
            held[owner] = held.get(owner, 0) + weight
    return found
