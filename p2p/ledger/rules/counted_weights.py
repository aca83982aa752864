"""Counted weights: what each participant weighs in draws and votes, once its owner's share is capped. Law: read only;
every draw and every vote asks the same functions.

EconomyRules.owner_cap_milli bounds what one owner's nodes count for together, so splitting a machine gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2p.ledger.rules.context import Context
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View

MILLI = 1000


def counted(ctx: Context, some: Iterable[Participant]) -> list[tuple[bytes, int]]:
    """(node, counted weight) of `some` participants, sorted by node."""
    weights = counted_weights(ctx)
    return sorted((p.node, weights[p.node]) for p in some)


def capped(rows: Iterable[tuple[bytes, bytes, int]], cap_milli: int) -> dict[bytes, int]:
    """node -> counted weight. rows: (node, owner, weight) of all participants.

    An owner's nodes count for at most cap_milli thousandths of the total weight, shared among them in proportion to
    their weights, rounded down. A node with weight counts for at least 1.
    """
    known = list(rows)
    owners: dict[bytes, int] = {}
    for _, owner, weight in known:
        owners[owner] = owners.get(owner, 0) + weight
    most = sum(owners.values()) * cap_milli // MILLI
    return {
        node: weight if owners[owner] <= most else max(weight * most // owners[owner], min(weight, 1))
        for node, owner, weight in known
    }


def owner_weights(ctx: Context, everybody: Iterable[Participant]) -> dict[bytes, int]:
    """node -> counted weight. everybody: all participants, as View.participants gives them."""
    return capped(((p.node, p.owner, p.weight) for p in everybody), ctx.economy.owner_cap_milli)


def counted_weights(ctx: Context) -> dict[bytes, int]:
    """node -> counted weight, of all participants. Must not be changed."""
    return ctx.view.once("weights", lambda: owner_weights(ctx, ctx.view.participants()))


def nodes_by_owner(view: View) -> dict[bytes, list[bytes]]:
    """owner -> its nodes, of all participants. Must not be changed."""
    def make() -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for participant in view.participants():
            found.setdefault(participant.owner, []).append(participant.node)
        return found

    return view.once("owners", make)


def owner_weight(ctx: Context, node: bytes) -> int:
    """The counted weight of the participant behind `node`; 0 where there is none."""
    return counted_weights(ctx).get(ctx.view.node_now(node), 0)


def voting_weights(ctx: Context, nodes: Iterable[bytes]) -> dict[bytes, int]:
    """node -> what its verdict weighs: its counted weight, or 0 while it is barred or convicted, or is no
    participant."""
    counted = counted_weights(ctx)
    good = {p.node for p in ctx.view.participants() if not p.barred_until and not p.convicted_until}
    return {node: counted[now] if (now := ctx.view.node_now(node)) in good else 0 for node in nodes}
