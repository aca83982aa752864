"""Who decides blocks. Law: an epoch's set follows from the state two heights before it begins, and is kept in the
state itself.

The state after block h has three sets: of h (`last`), of h + 1 (`now`) and of h + 2 (`next`), because a header names
its own set and the next. Epochs are heights 1..E, E+1..2E, ... A validator with evidence on chain has no weight from
the next epoch on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from p2p.base.codec import encode, load
from p2p.base.genesis import Genesis
from p2p.ledger.participants import weights
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

Members = tuple[tuple[bytes, int], ...]


def first_members(view: View, genesis: Genesis) -> None:
    members = sorted((peer.node, peer.weight) for peer in genesis.peers if peer.weight > 0)
    for name in (b"last", b"now", b"next"):
        view.put(keys.validator_set(name), encode(members))


def members(view: View, name: bytes) -> Members:
    """name: b'last', b'now' or b'next'."""
    raw = view.get(keys.validator_set(name))
    return load(Members, raw) if raw else ()


def punished(view: View) -> frozenset[bytes]:
    return frozenset(view.ids(keys.OFFENDERS))


def rotate(ctx: Context, offenders: Sequence[bytes]) -> None:
    """After a block: remember offenders, and move the three sets on. A new epoch's set is made two heights before it.
    """
    for node in offenders:
        ctx.view.add_id(keys.OFFENDERS, node)
    now, following = members(ctx.view, b"now"), members(ctx.view, b"next")
    if (ctx.height + 1) % ctx.genesis.epoch_blocks == 0:
        epoch = (ctx.height + 1) // ctx.genesis.epoch_blocks
        _put(ctx.view, keys.validator_set(b"next"), _next(ctx, epoch) or following)
    _put(ctx.view, keys.validator_set(b"last"), now)
    _put(ctx.view, keys.validator_set(b"now"), following)


def _put(view: View, key: bytes, value: Members) -> None:
    raw = encode(value)
    if view.get(key) != raw:
        view.put(key, raw)


def _next(ctx: Context, epoch: int) -> Members:
    """The set of `epoch`: from the sprint, or from the genesis file where there is none."""
    if not ctx.genesis.sprint.blocks:
        return _of_epoch(ctx, epoch)
    nodes = [participant.node for participant in ctx.view.participants()]
    return weights.count(ctx, {ctx.view.node_now(node) for node in punished(ctx.view)} | _leaving(ctx.view, nodes))


def _of_epoch(ctx: Context, epoch: int) -> Members:
    """Weights of the genesis file and its planned changes up to `epoch`, without offenders."""
    planned = {ctx.view.node_now(peer.node): peer.weight for peer in ctx.genesis.peers}
    for change in sorted((c for c in ctx.genesis.changes if c.epoch <= epoch), key=lambda c: c.epoch):
        planned[ctx.view.node_now(change.node)] = change.weight
    out = {ctx.view.node_now(node) for node in punished(ctx.view)} | _leaving(ctx.view, planned)
    return tuple(sorted((node, weight) for node, weight in planned.items() if weight > 0 and node not in out))


def _leaving(view: View, nodes: Iterable[bytes]) -> set[bytes]:
    """Those that have left or are leaving. A planned change may name a node that has not registered yet."""
    def leaves(node: bytes) -> bool:
        participant = view.participant(node)
        return bool(participant and participant.leaving) or view.get(keys.last_owner(node)) is not None

    return {node for node in nodes if leaves(node)}
