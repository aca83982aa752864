"""Who decides blocks. Law: the set of an epoch follows from the state two heights before it begins, and is kept in the state itself.

Three sets stand in the state after block h: of h (`last`), h + 1 (`now`), h + 2 (`next`), for a header names its own and the next.
Epochs are heights 1..E, E+1..2E, ...; a validator with evidence on chain has no weight from the next epoch on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from p2p.base.codec import encode, load
from p2p.base.genesis import Genesis
from p2p.ledger.participants import weights
from p2p.ledger.state.view import View

Members = tuple[tuple[bytes, int], ...]


def first_members(view: View, genesis: Genesis) -> None:
    members = sorted((peer.node, peer.weight) for peer in genesis.peers if peer.weight > 0)
    for name in (b"last", b"now", b"next"):
        view.put(b"set/" + name, encode(members))


def members(view: View, name: bytes) -> Members:
    """name: b'last', b'now' or b'next'."""
    raw = view.get(b"set/" + name)
    return load(Members, raw) if raw else ()


def punished(view: View) -> frozenset[bytes]:
    return frozenset(view.ids(b"faults"))


def rotate(view: View, genesis: Genesis, height: int, offenders: Sequence[bytes]) -> None:
    """After block `height`: remember offenders, move the three sets on; a new epoch's set is made two heights before it."""
    for who in offenders:
        view.add_id(b"faults", who)
    now, following = members(view, b"now"), members(view, b"next")
    if (height + 1) % genesis.epoch_blocks == 0:
        _put(view, b"set/next", _next(view, genesis, (height + 1) // genesis.epoch_blocks) or following)
    _put(view, b"set/last", now)
    _put(view, b"set/now", following)


def _put(view: View, key: bytes, value: Members) -> None:
    raw = encode(value)
    if view.get(key) != raw:
        view.put(key, raw)


def _next(view: View, genesis: Genesis, epoch: int) -> Members:
    """What the sprint gave, where there is one."""
    if not genesis.sprint.blocks:
        return _of_epoch(view, genesis, epoch)
    nodes = [participant.node for participant in view.participants()]
    return weights.count(view, genesis, {view.node_now(node) for node in punished(view)} | _leaving(view, nodes))


def _of_epoch(view: View, genesis: Genesis, epoch: int) -> Members:
    """Weights of the genesis file and its planned changes up to `epoch`, without offenders."""
    planned = {view.node_now(peer.node): peer.weight for peer in genesis.peers}
    for change in sorted((c for c in genesis.changes if c.epoch <= epoch), key=lambda c: c.epoch):
        planned[view.node_now(change.node)] = change.weight
    out = {view.node_now(node) for node in punished(view)} | _leaving(view, planned)
    return tuple(sorted((node, weight) for node, weight in planned.items() if weight > 0 and node not in out))


def _leaving(view: View, nodes: Iterable[bytes]) -> set[bytes]:
    """Those who have left or are about to; a planned change may name a node that has not come yet."""
    return {node for node in nodes if ((p := view.participant(node)) and p.leaving) or view.get(b"gone/" + node) is not None}
