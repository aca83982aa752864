"""What a chain gives to peers that were away, and takes from others when it was away itself.

Law: nothing is believed that a header does not cover.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.chain.chain import Chain
from p2p.chain.state import Tip
from p2p.chain.stores import snapshots
from p2p.chain.stores.blocks import keep_first_height, keep_set
from p2p.consensus.light import Facts, LightBlock, facts_of
from p2p.consensus.messages import Header
from p2p.consensus.validators import ValidatorSet
from p2p.ledger.participants.validator_sets import members
from p2p.ledger.state import tree
from p2p.ledger.state.snapshot import Manifest
from p2p.ledger.state.view import View
from p2p.store.batch import Batch
from p2p.wire.failures import failure
from p2p.wire.frames import (
    Frame,
    LightAnswer,
    LightWanted,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotWanted,
    SyncBlock,
    SyncTop,
    SyncWanted,
)


def trusted(chain: Chain) -> Facts:
    """What a light client that knows what this chain knows starts from: its tip."""
    found = chain.blocks.light_block(chain.height())
    if found is not None:
        return facts_of(found, chain.genesis.network)
    last, now = ValidatorSet.of(chain.last_validators()), ValidatorSet.of(chain.validators())
    return Facts(chain.height(), chain.last_time_ms(), last, now, frozenset(), True)


def sync_answer(chain: Chain, frame: Frame) -> Frame:
    """The answer to one frame on a sync stream. Raises RemoteProtocolError for any other frame."""
    epoch = chain.genesis.epoch_blocks
    if isinstance(frame, SyncWanted) and frame.height == 0:
        newest = chain.height() // epoch * epoch
        snapshot = newest if snapshots.manifest(chain.store, newest) else 0
        return SyncTop(chain.blocks.first_height(), chain.height(), snapshot)
    if isinstance(frame, SyncWanted):
        found = chain.blocks.block(frame.height)
        return SyncBlock(*found) if found else _missing(f"block {frame.height}", "height")
    if isinstance(frame, LightWanted):
        light = chain.blocks.light_block(frame.height)
        return LightAnswer(light) if light else _missing(f"header {frame.height}", "height")
    if isinstance(frame, SnapshotWanted) and frame.index < 0:
        manifest = snapshots.manifest(chain.store, frame.height)
        return SnapshotManifest(manifest) if manifest else _missing(f"snapshot of height {frame.height}", "height")
    if isinstance(frame, SnapshotWanted):
        chunk = snapshots.chunk(chain.store, frame.height, frame.index)
        return SnapshotChunk(chunk) if chunk else _missing(f"chunk {frame.index} of height {frame.height}", "index")
    what = f"{type(frame).__name__} is no question; the stream sync takes SyncWanted, LightWanted and SnapshotWanted"
    raise RemoteProtocolError(what, field="frame")


def _missing(what: str, field: str) -> Frame:
    return failure(Unavailable(f"no {what} here", field=field))


def check_snapshot(manifest: Manifest, at: LightBlock, after: Header) -> None:
    """Check a snapshot against two headers that are trusted already: `after` follows `at`, and its app hash is that of
    the manifest. Raises RemoteProtocolError."""
    follows = after.height == manifest.height + 1 and after.last_block_id == at.header.block_id
    if manifest.height != at.header.height or not follows:
        raise RemoteProtocolError("the snapshot's headers do not follow each other", field="height")
    if manifest.app_hash() != after.app_hash:
        raise RemoteProtocolError("the snapshot is not the state that the header stands for", field="manifest")


def install(chain: Chain, manifest: Manifest, pairs: Sequence[tuple[bytes, bytes]], at: LightBlock) -> None:
    """Become what a checked snapshot says, in one transaction. at: the light block of its height. Raises
    RemoteProtocolError when the tree of these pairs is not the manifest's; then nothing is written."""
    header, batch = at.header, Batch()
    root, pages = tree.update(lambda position: None, dict(pairs))
    if tree.app_hash(root) != manifest.app_hash():
        raise RemoteProtocolError("the chunks are not the state that the header stands for", field="chunks")
    for database, content in (("state", dict(pairs)), ("tree", pages)):
        for key, _ in chain.store.scan(database):
            batch.put(database, key, None)
        for key, value in content.items():
            batch.put(database, key, value)
    keep_first_height(batch, header.height + 1)
    for some in (at.validators, at.next_validators, members(View(dict(pairs).get), b"next")):
        keep_set(batch, some)
    tip = Tip(header.height, manifest.app_hash(), header.block_id, header.beacon, header.time_ms, at.certificate)
    chain.become(tip, batch)
