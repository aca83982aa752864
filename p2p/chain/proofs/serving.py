"""The set of nodes that a draw was made from, and a token's price, as the state after a later height has them.

Law: data and pure checks; what is proved must have the app hash that a header names. A proof holds two values of the
state and their places in its tree: the model's versions (ledger/participants/serving.py), which name the one that was
in force, and that version. The price is proved with them. Canonical CBOR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.limits import MAX_FRAME
from p2p.base.types import U32, U64, VERSION
from p2p.base.weighted_draw import WeightedDraw
from p2p.ledger.money.price import Price, price_key
from p2p.ledger.participants.serving import ServingSet, Versions, set_key, versions_key
from p2p.ledger.state.proofs import TreeProof, implied_root
from p2p.ledger.state.tree import app_hash

Value = Annotated[bytes, Meta(max_length=MAX_FRAME // 8)]
Proved = Callable[[bytes], tuple[bytes | None, TreeProof]]  # chain/state.py: ChainState.prove


class ServingProof(Message, frozen=True):
    """Who served a model at a height, and what a token of it costs."""

    version: U32
    height: U64  # the values are of the state after it; header height + 1 has its app hash
    versions: Value
    versions_proof: TreeProof
    nodes: Value
    nodes_proof: TreeProof
    price: Annotated[bytes, Meta(max_length=256)] | None  # None: before the first block
    price_proof: TreeProof


def prove_serving(proved: Proved, top: int, model: str, height: int) -> ServingProof:
    """For a draw at `height`, from the state after `top`. Raises InvalidRequest(code='not_found') when that state does
    not know."""
    versions, versions_proof = proved(versions_key(model))
    since = unpack(Versions, versions).at(height) if versions is not None and height <= top else None
    nodes, nodes_proof = proved(set_key(model, since)) if since is not None else (None, versions_proof)
    if versions is None or nodes is None:
        raise InvalidRequest(
            f"who served {model[:60]!r} at height {height} is not in the state after {top}", field="height",
            code="not_found",
        )
    return ServingProof(VERSION, top, versions, versions_proof, nodes, nodes_proof, *proved(price_key(model)))


def open_serving(proof: ServingProof, model: str, height: int) -> tuple[WeightedDraw, bytes]:
    """(the set that a draw at `height` is made from, the app hash that header proof.height + 1 has where this is true).
    Raises RemoteProtocolError for a proof of something else."""
    since = unpack(Versions, proof.versions).at(height)
    if since is None or height > proof.height:
        raise RemoteProtocolError(f"this says nothing of height {height}", field="versions")
    root = implied_root(versions_key(model), proof.versions, proof.versions_proof)
    if root is None or implied_root(set_key(model, since), proof.nodes, proof.nodes_proof) != root:
        raise RemoteProtocolError("these values are not of one state, or not of this model and height", field="nodes")
    return WeightedDraw(unpack(ServingSet, proof.nodes).nodes), app_hash(root)


def open_price(proof: ServingProof, model: str) -> tuple[int | None, bytes]:
    """(what a token of `model` costs in block proof.height + 1, None where that is the first; the app hash, as above).
    Raises RemoteProtocolError."""
    root = implied_root(price_key(model), proof.price, proof.price_proof)
    if root is None:
        raise RemoteProtocolError("this is no price of a state, or not of this model", field="price")
    return None if proof.price is None else unpack(Price, proof.price).micro, app_hash(root)
