"""Light client and snapshots on real chains: across set changes, and nothing believed that a header does not cover."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.limits import MAX_VALIDATORS
from p2p.base.types import VERSION
from p2p.chain.chain import Chain
from p2p.chain.sync_server import check_snapshot, install, sync_answer, trusted
from p2p.consensus.light import LightBlock, follow, genesis_facts
from p2p.ledger.state.snapshot import open_chunk
from p2p.wire.frames import SnapshotChunk, SnapshotManifest, SnapshotWanted, SyncTop, SyncWanted
from tests.chains import extend, next_priorities
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario

# epochs of four; the set moves from peers 0..3 to peers 3..6 step by step
CHANGES = tuple(
    (epoch, peer, weight)
    for epoch, (out, new) in enumerate([(0, 4), (1, 5), (2, 6)], 1)
    for peer, weight in ((out, 0), (new, 1))
)
SCENARIO = Scenario(0, (1, 1, 1, 1, 0, 0, 0), changes=CHANGES, epoch_blocks=4)
NOW = 1_700_000_000_000
BY_KEY = {key.public: key for key in KEYS}


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    found = Chain.open(tmp_path / "full", genesis_of(SCENARIO))
    extend(found, 18, BY_KEY, lambda height: NOW + height * 1000)
    return found


def drive(
    chain: Chain, target: int, change: Callable[[LightBlock], LightBlock] = lambda block: block, *,
    now_ms: int = NOW + 60_000
) -> list[LightBlock]:
    """Follow from the genesis file; `change` is what a liar makes of each answer."""
    steps = follow(genesis_facts(chain.genesis), target, chain.genesis.network, now_ms)
    try:
        wanted = next(steps)
        while True:
            found = chain.blocks.light_block(wanted)
            assert found is not None
            wanted = steps.send(change(found))
    except StopIteration as done:
        way: list[LightBlock] = done.value
        return way


def test_a_header_is_trusted_across_sets_that_share_nobody(chain: Chain) -> None:
    way = drive(chain, 18)
    assert way[-1] == chain.blocks.light_block(18)
    assert 1 < len(way) < 18, "it skips what it can, and goes by the middle where trust runs out"
    assert not {k for k, _ in way[-1].validators} & {p.node for p in chain.genesis.peers[:3]}


def test_a_header_ahead_of_a_slow_clock_is_nobodys_lie(chain: Chain) -> None:
    """A peer is not avoided for a header ahead of our clock; a false header is its sender's lie whatever our clock
    says."""
    slow_ms = NOW + 18_000 - 30_000
    with pytest.raises(Unavailable, match="ahead of this machine's clock"):
        drive(chain, 18, now_ms=slow_ms)
    assert drive(chain, 18, now_ms=NOW + 18_000 - 10_000)
    with pytest.raises(RemoteProtocolError):
        drive(chain, 18, lambda b: replace(b, header=replace(b.header, time_ms=b.header.time_ms + 1)), now_ms=slow_ms)


def test_a_light_block_s_sets_are_bounded_before_anything_is_made_of_them(chain: Chain) -> None:
    right = chain.blocks.light_block(18)
    assert right is not None
    many = tuple((number.to_bytes(32, "big"), 1) for number in range(MAX_VALIDATORS + 1))
    heavy = ((bytes(32), 2**63),)
    for wrong in (
        replace(right, validators=many), replace(right, next_validators=many), replace(right, validators=heavy),
    ):
        with pytest.raises(RemoteProtocolError):
            unpack(LightBlock, encode(wrong))


def test_within_one_set_it_is_one_step(chain: Chain) -> None:
    assert len(drive(chain, 4)) == 1


@pytest.mark.parametrize("lie", ["signature", "few", "header", "set", "next", "older", "foreign"])
def test_lies_are_seen(chain: Chain, lie: str) -> None:
    def change(block: LightBlock) -> LightBlock:
        pairs = block.certificate.signatures
        if lie == "signature":
            return replace(
                block, certificate=replace(block.certificate, signatures=tuple((k, bytes(64)) for k, _ in pairs))
            )
        if lie == "few":
            return replace(block, certificate=replace(block.certificate, signatures=pairs[:1]))
        if lie == "header":
            return replace(block, header=replace(block.header, app_hash=bytes(32)))
        if lie == "set":
            return replace(block, validators=block.validators[:2])
        if lie == "next":
            return replace(block, next_validators=((bytes(32), 1),))
        if lie == "older":
            found = chain.blocks.light_block(block.header.height - 1) if block.header.height > 1 else None
            return found or block
        header = replace(block.header, network="other")
        return replace(block, header=header)

    with pytest.raises(RemoteProtocolError):
        drive(chain, 18, change)


def test_a_fresh_peer_stands_where_the_snapshot_is_and_goes_on_alike(chain: Chain, tmp_path: Path) -> None:
    top = sync_answer(chain, SyncWanted(VERSION, 0))
    assert isinstance(top, SyncTop)
    assert (top.base, top.top, top.snapshot) == (1, 18, 16)
    found = sync_answer(chain, SnapshotWanted(VERSION, 16, -1))
    assert isinstance(found, SnapshotManifest)
    at, after = drive(chain, 16)[-1], drive(chain, 17)[-1]
    check_snapshot(found.manifest, at, after.header)
    pairs = []
    for index in range(len(found.manifest.chunks)):
        answer = sync_answer(chain, SnapshotWanted(VERSION, 16, index))
        assert isinstance(answer, SnapshotChunk)
        pairs += open_chunk(answer.chunk, found.manifest, index)
        with pytest.raises(RemoteProtocolError):
            open_chunk(answer.chunk + b"\0", found.manifest, index)
    fresh = Chain.open(tmp_path / "fresh", chain.genesis)
    install(fresh, found.manifest, pairs, at)
    assert (fresh.height(), fresh.validators(), fresh.priorities()) == (16, _set_at(chain, 17), fresh.priorities())
    for height in (17, 18):
        block = chain.blocks.block(height)
        assert block is not None
        fresh.finalize(*block, next_priorities(fresh))
    assert fresh.app_hash() == chain.app_hash()
    assert trusted(fresh).height == 18
    fresh.close()
    again = Chain.open(tmp_path / "fresh", chain.genesis)
    assert again.app_hash() == chain.app_hash()
    again.close()


def _set_at(chain: Chain, height: int) -> tuple[tuple[bytes, int], ...]:
    found = chain.blocks.light_block(height)
    assert found is not None
    return found.validators


def test_another_snapshot_is_refused(chain: Chain) -> None:
    found = sync_answer(chain, SnapshotWanted(VERSION, 16, -1))
    assert isinstance(found, SnapshotManifest)
    at, after = drive(chain, 16)[-1], drive(chain, 17)[-1]
    for manifest in (
        replace(found.manifest, chunks=(bytes(32),)), replace(found.manifest, chunks=(*found.manifest.chunks, b"")),
        replace(found.manifest, chunks=(b"short",)), replace(found.manifest, height=12),
    ):
        with pytest.raises(RemoteProtocolError):
            check_snapshot(manifest, at, after.header)
    with pytest.raises(RemoteProtocolError):
        check_snapshot(found.manifest, at, drive(chain, 18)[-1].header)
