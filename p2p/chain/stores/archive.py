"""Inferences that left the state, so that they can be proved for ever.

Law: an inference is written here in the transaction of the block that lets it leave; a record is believed only if it
hashes to the root that the state has of its epoch. All peers keep all leaf hashes (32 bytes each), in tiles of TILE, so
whoever has a record can be given its path. The records themselves are kept by those who had a part in them, or by peers
that want all (decision 021).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from p2p.base import merkle
from p2p.base.codec import Message, encode, load
from p2p.ledger.inferences.pruning import Left
from p2p.ledger.state.records import Inference
from p2p.store.batch import Batch
from p2p.store.keys import height_key
from p2p.store.lmdb import Store

TILE = 256  # a power of two, so that tiles are subtrees
_HASH = 32


class Kept(Message, frozen=True):
    """A record that left, and which leaf of its epoch it is."""

    epoch: int
    index: int
    record: bytes

    def inference(self) -> Inference:
        return load(Inference, self.record)


def add(store: Store, batch: Batch, left: Sequence[Left], node: bytes | None) -> None:
    """Add what left in one block to `batch`. node: whose records are kept; None: all. Where this peer began with a
    snapshot, leaves are missing, and a tile has too few for ever."""
    for tile, leaves in _by_tile(left):
        epoch, number = tile
        hashes = store.read("archive", _tile(epoch, number)) or b""
        hashes += b"".join(one.leaf_hash for one in leaves)
        batch.put("archive", _tile(epoch, number), hashes)
        if len(hashes) == TILE * _HASH:
            batch.put("archive", _root(epoch, number), merkle.root_of(_split(hashes)))
    for one in left:
        if node is None or node in parties(one.inference):
            batch.put("archive", _name(one.inference_id), encode(Kept(one.epoch, one.index, one.record)))


def parties(inference: Inference) -> frozenset[bytes]:
    """Who did something in it: agent, executor, all committees."""
    executor = {inference.finish.record.executor} if inference.finish else set()
    return frozenset({inference.agent, *executor, *inference.members})


def find(store: Store, inference_id: bytes) -> Kept | None:
    raw = store.read("archive", _name(inference_id))
    return load(Kept, raw) if raw else None


def path(store: Store, epoch: int, index: int, size: int) -> list[bytes] | None:
    """From leaf `index` of `size` up to the root of a whole epoch; None where leaves are missing here."""
    own, full, rest = index // TILE, size // TILE, size % TILE
    roots = [store.read("archive", _root(epoch, number)) for number in range(full)]
    if rest:
        last = _split(store.read("archive", _tile(epoch, full)) or b"")
        roots.append(merkle.root_of(last) if len(last) == rest else None)
    found = [root for root in roots if root is not None]
    if len(found) != len(roots):
        return None
    leaves = _split(store.read("archive", _tile(epoch, own)) or b"")
    return merkle.prove_of(leaves, index % TILE) + merkle.prove_of(found, own)


def _by_tile(left: Iterable[Left]) -> Iterator[tuple[tuple[int, int], list[Left]]]:
    found = dict[tuple[int, int], list[Left]]()
    for one in left:
        found.setdefault((one.epoch, one.index // TILE), []).append(one)
    return iter(found.items())


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)]


def _tile(epoch: int, number: int) -> bytes:
    return b"t" + height_key(epoch) + number.to_bytes(4, "big")


def _root(epoch: int, number: int) -> bytes:
    return b"r" + height_key(epoch) + number.to_bytes(4, "big")


def _name(inference_id: bytes) -> bytes:
    return b"i" + inference_id
