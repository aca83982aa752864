"""What each participant counts for, with its owner's other nodes considered. Law: read only; every draw and every vote asks the same functions."""

from __future__ import annotations

from collections.abc import Iterable

from p2p.ledger.rules.context import Context
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View


def counted(ctx: Context, some: Iterable[Participant]) -> list[tuple[bytes, int]]:
    """(node, counted weight) of `some` of the participants, by key."""
    weights = counted_weights(ctx)
    return sorted((p.node, weights[p.node]) for p in some)


def capped(rows: Iterable[tuple[bytes, bytes, int]], cap_milli: int) -> dict[bytes, int]:
    """node -> counted weight, from (node, owner, weight) of everybody: an owner's nodes share at most cap_milli of the total among them, in
    proportion to their weight. Who has weight keeps at least 1."""
    known = list(rows)
    owners: dict[bytes, int] = {}
    for _, owner, weight in known:
        owners[owner] = owners.get(owner, 0) + weight
    most = sum(owners.values()) * cap_milli // 1000
    return {
        node: weight if owners[owner] <= most else max(weight * most // owners[owner], min(weight, 1)) for node, owner, weight in known
    }


def owner_weights(ctx: Context, everybody: Iterable[Participant]) -> dict[bytes, int]:
    """everybody: view.participants(), read once."""
    return capped(((p.node, p.owner, p.weight) for p in everybody), ctx.economy.owner_cap_milli)


def counted_weights(ctx: Context) -> dict[bytes, int]:
    """node -> what it counts for, its owner's other nodes considered; of all participants."""
    return ctx.view.once("weights", lambda: owner_weights(ctx, ctx.view.participants()))


def nodes_by_owner(view: View) -> dict[bytes, list[bytes]]:
    """Of all participants."""
    def make() -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for participant in view.participants():
            found.setdefault(participant.owner, []).append(participant.node)
        return found

    return view.once("owners", make)


def owner_weight(ctx: Context, node: bytes) -> int:
    """What `node` counts for, its owner's other nodes considered; 0 for no participant."""
    return counted_weights(ctx).get(ctx.view.node_now(node), 0)


def voting_weights(ctx: Context, nodes: Iterable[bytes]) -> dict[bytes, int]:
    """What a verdict of each weighs: its counted weight, nothing while it is barred or convicted."""
    counted = counted_weights(ctx)
    good = {p.node for p in ctx.view.participants() if not p.barred_until and not p.convicted_until}
    return {node: counted[now] if (now := ctx.view.node_now(node)) in good else 0 for node in nodes}
